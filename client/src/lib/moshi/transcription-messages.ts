/** The messages of `/api/asr-streaming?format=json` beside those of every session. */
import { readMessage, SESSION_SHAPES, type SessionMessage, type Shapes } from "./messages";

export type TranscriptionMessage =
  /** One 80 ms frame was processed. `prs[i]`: probability of a pause, one per extra head of the model. */
  | { type: "Step"; step_idx: number; prs: number[]; buffered_pcm: number }
  /** `start_time`: seconds of audio since this connection began. */
  | { type: "Word"; text: string; start_time: number }
  /** The end of the last word. */
  | { type: "EndWord"; stop_time: number }
  /** All audio sent before the marker with this id has been transcribed. */
  | { type: "Marker"; id: number };

export type TranscriptionControl = { type: "Marker"; id: number };

const SHAPES: Shapes<TranscriptionMessage | SessionMessage> = {
  ...SESSION_SHAPES,
  Step: { step_idx: "number", prs: "numbers", buffered_pcm: "number" },
  Word: { text: "string", start_time: "number" },
  EndWord: { stop_time: "number" },
  Marker: { id: "number" },
};

/** Checks a decoded value. Returns `null` for an unknown type; throws a `TypeError` if it is not a message. */
export function readTranscriptionMessage(value: unknown): TranscriptionMessage | SessionMessage | null {
  return readMessage(value, SHAPES);
}
