import type { MoshiError } from "./failure";

export type ConnectionState = "connecting" | "queued" | "live" | "waiting" | "finishing" | "closed";

/** The events of every kind of stream. */
export type ConnectionEvent =
  | { type: "state"; state: Exclude<ConnectionState, "waiting"> }
  /** The connection is lost because of `error`; the next try comes in `retryIn` seconds. */
  | { type: "state"; state: "waiting"; retryIn: number; error: MoshiError }
  /** Waiting for a place on the server; position 1 is next. */
  | { type: "queued"; position: number }
  /** The server is going to stop, in `deadline` seconds at the latest. */
  | { type: "draining"; deadline: number }
  /** The stream has ended because of `error`. */
  | { type: "failed"; error: MoshiError };

/** A bounded queue that one consumer reads with `for await`. */
export class EventQueue<E> implements AsyncIterable<E> {
  readonly #capacity: number;
  readonly #onFull: () => void;
  #events: E[] = [];
  #ended = false;
  #wake: (() => void) | null = null;

  /** `onFull` is called when the reader has fallen `capacity` events behind; the event is not queued. */
  constructor(capacity: number, onFull: () => void) {
    this.#capacity = capacity;
    this.#onFull = onFull;
  }

  push(event: E): void {
    if (this.#ended) return;
    if (this.#events.length >= this.#capacity) return this.#onFull();
    this.#events.push(event);
    this.#wake?.();
  }

  /** Ends the iteration once everything queued is read; `last` is delivered even if the queue is full. */
  end(last: E[] = []): void {
    if (this.#ended) return;
    this.#events.push(...last);
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<E> {
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
