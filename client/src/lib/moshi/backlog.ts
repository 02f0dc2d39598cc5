interface Chunk {
  at: number;
  pcm: Float32Array;
}

/**
 * Audio that the server has not yet confirmed to have transcribed, kept so that a new connection can go on
 * where the old one broke. Positions count samples since the stream began and never go back.
 */
export class AudioBacklog {
  readonly #capacity: number;
  #chunks: Chunk[] = [];
  #start = 0;
  #end = 0;
  #confirmed = 0;

  /** `capacity`: samples kept at most; beyond that the oldest are let go. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** First sample still held. */
  get start(): number {
    return this.#start;
  }

  /** One past the newest sample. */
  get end(): number {
    return this.#end;
  }

  /** Unconfirmed samples that are no longer held: a new connection can't get them. */
  get missing(): number {
    return Math.max(0, this.#start - this.#confirmed);
  }

  push(pcm: Float32Array): void {
    this.#chunks.push({ at: this.#end, pcm });
    this.#end += pcm.length;
    this.#dropWhile(({ at }) => at < this.#end - this.#capacity);
  }

  /** The server has transcribed everything before `position`. */
  confirm(position: number): void {
    this.#confirmed = Math.max(this.#confirmed, Math.min(position, this.#end));
    // Chunks go whole: one that is confirmed in part stays.
    this.#dropWhile(({ at, pcm }) => at + pcm.length <= this.#confirmed);
  }

  /** What is missing is given up: from here on the stream counts from `start`. */
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
