/**
 * The messages of `/api/asr-streaming`, as they travel with `?format=json`.
 *
 * Server messages come as JSON text frames. Client control messages go as JSON text frames too;
 * Opus goes as a MessagePack binary frame, raw PCM16 as a bare binary frame.
 */
import { encode } from "@msgpack/msgpack";

/** Sample rate of all audio handed to the library, in Hz. */
export const SAMPLE_RATE = 24_000;

export type ServerMessage =
  | { type: "Ready" }
  /** Waiting for a free slot; `position` 1 is next. */
  | { type: "Queued"; position: number }
  /** One 80 ms frame was processed. `prs[i]`: probability of a pause, one per extra head of the model. */
  | { type: "Step"; step_idx: number; prs: number[]; buffered_pcm: number }
  /** `start_time`: seconds of audio since this connection began. */
  | { type: "Word"; text: string; start_time: number }
  | { type: "EndWord"; stop_time: number }
  /** All audio sent before the marker with this id has been transcribed. */
  | { type: "Marker"; id: number }
  | { type: "Draining"; deadline_s: number }
  | { type: "Flushed" }
  | { type: "EndOfStream" }
  /** The newer token was taken: the session may go on for `valid_s` seconds. */
  | { type: "Renewed"; valid_s: number }
  /** It was refused: the session ends when it would have. */
  | { type: "NotRenewed" }
  | { type: "Error"; message: string };

export type ControlMessage =
  | { type: "Marker"; id: number }
  | { type: "Flush" }
  | { type: "Renew"; token: string }
  | { type: "EndOfStream" };

type Shape = Record<string, "number" | "string" | "numbers">;

const SHAPES: { [T in ServerMessage["type"]]: Shape } = {
  Ready: {},
  Queued: { position: "number" },
  Step: { step_idx: "number", prs: "numbers", buffered_pcm: "number" },
  Word: { text: "string", start_time: "number" },
  EndWord: { stop_time: "number" },
  Marker: { id: "number" },
  Draining: { deadline_s: "number" },
  Flushed: {},
  EndOfStream: {},
  Renewed: { valid_s: "number" },
  NotRenewed: {},
  Error: { message: "string" },
};

function fits(value: unknown, kind: Shape[string]): boolean {
  if (kind === "numbers") return Array.isArray(value) && value.every((x) => typeof x === "number");
  return typeof value === kind;
}

/** Checks an already decoded value. `null`: a type this client doesn't know, which newer servers may send. */
export function asServerMessage(value: unknown): ServerMessage | null {
  if (typeof value !== "object" || value === null || !("type" in value)) {
    throw new TypeError("server message without a type");
  }
  const type = String(value.type);
  if (!Object.hasOwn(SHAPES, type)) return null;
  const shape = SHAPES[type as ServerMessage["type"]];
  for (const [field, kind] of Object.entries(shape)) {
    if (!fits((value as Record<string, unknown>)[field], kind)) {
      throw new TypeError(`server message ${type} with a bad ${field}`);
    }
  }
  return value as ServerMessage;
}

export function parseServerMessage(text: string): ServerMessage | null {
  return asServerMessage(JSON.parse(text));
}

/** `{type:"OggOpus", data: bin}`: whole Ogg pages. */
export function encodeOggOpus(pages: Uint8Array): Uint8Array<ArrayBuffer> {
  return encode({ type: "OggOpus", data: pages });
}
