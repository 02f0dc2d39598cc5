/** Waiting times between reconnects: exponential with jitter, so that clients don't all return to a restarted server at once. */
export interface BackoffOptions {
  /** Upper bound of the first wait, in seconds. */
  base?: number;
  /** Upper bound of every wait, in seconds. */
  cap?: number;
  random?: () => number;
}

export class Backoff {
  #failures = 0;
  readonly #base: number;
  readonly #cap: number;
  readonly #random: () => number;

  constructor({ base = 0.5, cap = 15, random = Math.random }: BackoffOptions = {}) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
  }

  /** Returns the seconds to wait: between half and all of a bound that doubles with each call. */
  next(): number {
    const bound = Math.min(this.#cap, this.#base * 2 ** this.#failures);
    this.#failures += 1;
    return bound * (0.5 + 0.5 * this.#random());
  }

  reset(): void {
    this.#failures = 0;
  }
}
