import type { MoshiError } from "./failure";

export type StreamState = "connecting" | "queued" | "live" | "waiting" | "finishing" | "closed";

/** All times are seconds since the stream's first sample, across reconnects. */
export type StreamEvent =
  /** `waiting`: the connection is lost; `retryIn` seconds till the next try, and why. */
  | { type: "state"; state: Exclude<StreamState, "waiting"> }
  | { type: "state"; state: "waiting"; retryIn: number; error: MoshiError }
  | { type: "queued"; position: number }
  | { type: "word"; text: string; start: number }
  | { type: "wordEnd"; stop: number }
  /** One processed frame; `time` is its end, `pauses` the model's probabilities that the speaker has paused. */
  | { type: "step"; time: number; pauses: number[] }
  /** `seconds` from sending audio to having all its words; `time`: everything before is transcribed. */
  | { type: "confirmed"; time: number; seconds: number }
  | { type: "draining"; deadline: number }
  /** A new connection goes on at `from`; `missing` seconds before it could not be saved. */
  | { type: "resumed"; from: number; missing: number }
  | { type: "failed"; error: MoshiError };

/** A bounded queue that one consumer reads with `for await`. */
export class EventQueue implements AsyncIterable<StreamEvent> {
  readonly #capacity: number;
  readonly #onFull: () => void;
  #events: StreamEvent[] = [];
  #ended = false;
  #wake: (() => void) | null = null;

  /** `onFull`: called when the reader has fallen `capacity` events behind; the event is not queued. */
  constructor(capacity: number, onFull: () => void) {
    this.#capacity = capacity;
    this.#onFull = onFull;
  }

  push(event: StreamEvent): void {
    if (this.#ended) return;
    if (this.#events.length >= this.#capacity) return this.#onFull();
    this.#events.push(event);
    this.#wake?.();
  }

  /** Ends the iteration after what is queued; `last` is delivered even by a full queue. */
  end(last: StreamEvent[] = []): void {
    if (this.#ended) return;
    this.#events.push(...last);
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<StreamEvent> {
    for (;;) {
      const event = this.#events.shift();
      if (event) {
        yield event;
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = null;
      }
    }
  }
}
