/** Reads a stream's events one type at a time. */
import type { ConnectionEvent } from "../../src/lib/moshi";

/** Reads until an event fits. Events before it are dropped. */
export function reader<E extends { type: string }>(stream: AsyncIterable<E>) {
  const events = stream[Symbol.asyncIterator]();
  return async <T extends E["type"]>(type: T, fits: (event: Extract<E, { type: T }>) => boolean = () => true) => {
    for (;;) {
      const result = await events.next();
      if (result.done) throw new Error(`the stream ended before ${type}`);
      const { value } = result;
      if (value.type === type && fits(value as Extract<E, { type: T }>)) return value as Extract<E, { type: T }>;
    }
  };
}

type StateEvent = Extract<ConnectionEvent, { type: "state" }>;
export const isLive = (event: StateEvent) => event.state === "live";
export const isWaiting = (event: StateEvent) => event.state === "waiting";
