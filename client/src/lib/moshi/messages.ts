/**
 * What all kinds of stream have in common on the wire: the rate of audio, and the messages about the session itself,
 * which both sides send as JSON text frames.
 */

/** Sample rate of all audio on the wire, in Hz. */
export const SAMPLE_RATE = 24_000;

export type SessionMessage =
  | { type: "Ready" }
  /** Waiting for a free slot; `position` 1 is next. */
  | { type: "Queued"; position: number }
  /** The server is going to stop: the session ends within `deadline_s` seconds. */
  | { type: "Draining"; deadline_s: number }
  | { type: "EndOfStream" }
  /** The newer token was accepted: the session may go on for `valid_s` seconds. */
  | { type: "Renewed"; valid_s: number }
  /** The newer token was refused: the session ends when it would have ended anyway. */
  | { type: "NotRenewed" }
  | { type: "Error"; message: string };

export type SessionControl = { type: "Renew"; token: string } | { type: "EndOfStream" };

/** The fields that a message must have, and what they hold. */
export type Shape = Readonly<Record<string, "number" | "string" | "numbers">>;
export type Shapes<M extends { type: string }> = { readonly [T in M["type"]]: Shape };

export const SESSION_SHAPES: Shapes<SessionMessage> = {
  Ready: {},
  Queued: { position: "number" },
  Draining: { deadline_s: "number" },
  EndOfStream: {},
  Renewed: { valid_s: "number" },
  NotRenewed: {},
  Error: { message: "string" },
};

export function isSessionMessage(message: { type: string }): message is SessionMessage {
  return Object.hasOwn(SESSION_SHAPES, message.type);
}

/**
 * Checks a decoded value against the messages in `shapes`. Returns `null` for a type that isn't among them, which a newer
 * server may send. Throws a `TypeError` if the value is not a message or lacks a field.
 */
export function readMessage<M extends { type: string }>(value: unknown, shapes: Shapes<M>): M | null {
  if (typeof value !== "object" || value === null || !("type" in value) || typeof value.type !== "string") {
    throw new TypeError("server message without a type");
  }
  const { type } = value;
  if (!Object.hasOwn(shapes, type)) return null;
  for (const [field, kind] of Object.entries(shapes[type as M["type"]])) {
    if (!fits((value as Record<string, unknown>)[field], kind)) throw new TypeError(`server message ${type} with a bad ${field}`);
  }
  return value as M;
}

function fits(value: unknown, kind: Shape[string]): boolean {
  if (kind === "numbers") return Array.isArray(value) && value.every((x) => typeof x === "number");
  return typeof value === kind;
}
