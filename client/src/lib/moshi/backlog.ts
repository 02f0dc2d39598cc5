interface Chunk {
  at: number;
  pcm: Float32Array;
}

/**
 * Audio that the server has not confirmed as transcribed, kept so that a new connection can continue where the old one
 * was lost. Positions count samples since the stream began and never decrease.
 */
export class AudioBacklog {
  readonly #capacity: number;
  #chunks: Chunk[] = [];
  #start = 0;
  /** One past the newest sample. */
  #end = 0;
  #confirmed = 0;

  /** `capacity`: the most samples that are kept; beyond that the oldest are dropped. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** First sample still held. */
  get start(): number {
    return this.#start;
  }

  /** Number of unconfirmed samples that are no longer held, so that no new connection can get them. */
  get missing(): number {
    return Math.max(0, this.#start - this.#confirmed);
  }

  push(pcm: Float32Array): void {
    this.#chunks.push({ at: this.#end, pcm });
    this.#end += pcm.length;
    this.#dropWhile(({ at }) => at < this.#end - this.#capacity);
  }

  /** Takes note that the server has transcribed everything before `position`. */
  confirm(position: number): void {
    this.#confirmed = Math.max(this.#confirmed, Math.min(position, this.#end));
    // Only whole chunks are dropped: one that is confirmed in part stays.
    this.#dropWhile(({ at, pcm }) => at + pcm.length <= this.#confirmed);
  }

  /** Accepts that the missing samples are lost: they no longer count as missing. */
  forgetMissing(): void {
    this.#confirmed = this.#start;
  }

  /** All held audio, oldest first. */
  held(): Float32Array[] {
    return this.#chunks.map((chunk) => chunk.pcm);
  }

  #dropWhile(obsolete: (chunk: Chunk) => boolean): void {
    const kept = this.#chunks.findIndex((chunk) => !obsolete(chunk));
    this.#chunks.splice(0, kept < 0 ? this.#chunks.length : kept);
    this.#start = this.#chunks[0]?.at ?? this.#end;
  }
}
