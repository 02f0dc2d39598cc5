/** The loudness of the last seconds, for the meter. Written with every chunk, read in every animation frame. */

const FLOOR_DB = -60;

/** RMS as a fraction of the meter: 0 at -60 dB and below, 1 at full scale. */
export function loudness(pcm: Float32Array): number {
  let sum = 0;
  for (const x of pcm) sum += x * x;
  const db = 10 * Math.log10(sum / Math.max(1, pcm.length) + 1e-12);
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}

export class LevelHistory {
  readonly #values: Float32Array;
  #next = 0;

  /** `length`: number of 20 ms chunks that are remembered. */
  constructor(length: number) {
    this.#values = new Float32Array(length);
  }

  push(level: number): void {
    this.#values[this.#next++ % this.#values.length] = level;
  }

  clear(): void {
    this.#values.fill(0);
  }

  /** Number of chunks so far, by which a view sees whether anything is new. */
  get count(): number {
    return this.#next;
  }

  get latest(): number {
    return this.#values[(this.#next + this.#values.length - 1) % this.#values.length]!;
  }

  /** `age` 0 is the newest chunk. */
  at(age: number): number {
    const length = this.#values.length;
    return age >= length ? 0 : this.#values[(((this.#next - 1 - age) % length) + length) % length]!;
  }
}
