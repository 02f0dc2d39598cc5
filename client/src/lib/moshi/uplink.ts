/** Audio on its way to the server over one socket: encoded, with a marker after each second of it. */
import type { EncoderFactory, FrameEncoder } from "./encoder";
import { MoshiError } from "./failure";
import { SAMPLE_RATE } from "./messages";
import type { TranscriptionControl } from "./transcription-messages";

/** Samples between two markers. The server's answers tell how far it has come. */
const MARKER_EVERY = SAMPLE_RATE;

/** The part of a `Connection` that audio needs. */
export interface Link {
  sendFrame(frame: Uint8Array<ArrayBuffer>): boolean;
  sendMessage(message: object): void;
  fail(error: MoshiError): void;
}

export class AudioUplink {
  readonly #link: Link;
  readonly #encoder: FrameEncoder;
  /** Unanswered markers, oldest first. `position`: samples before the marker; `at`: ms of `performance.now()`. */
  readonly #markers = new Map<number, { position: number; at: number }>();
  #sent = 0;
  #marked = 0;
  #nextMarker = 0;

  constructor(encoder: EncoderFactory, link: Link) {
    this.#link = link;
    this.#encoder = encoder(
      (frame, samples) => this.#sendFrame(frame, samples),
      () => link.fail(new MoshiError("protocol", "the browser's audio encoder failed")),
    );
  }

  /** Query parameters that tell the server what the binary frames hold. */
  get query(): Readonly<Record<string, string>> {
    return this.#encoder.query;
  }

  /** `pcm`: mono samples at 24 kHz. */
  send(pcm: Float32Array): void {
    this.#encoder.encode(pcm);
  }

  /** Resolves when everything is sent; rejects if the encoder was closed or failed meanwhile. */
  flush(): Promise<void> {
    return this.#encoder.flush();
  }

  /**
   * Takes the server's answer to a marker. Returns the number of samples that are now transcribed, and the seconds
   * since the last of them was sent; `null` if there is no such marker.
   */
  answered(id: number): { position: number; seconds: number } | null {
    const marker = this.#markers.get(id);
    if (!marker) return null;
    this.#markers.delete(id);
    return { position: marker.position, seconds: (performance.now() - marker.at) / 1000 };
  }

  /** When the oldest unanswered marker was sent, in ms of `performance.now()`. */
  get owedSince(): number | null {
    return this.#markers.values().next().value?.at ?? null;
  }

  close(): void {
    this.#encoder.close();
  }

  #sendFrame(frame: Uint8Array<ArrayBuffer>, samples: number): void {
    if (!this.#link.sendFrame(frame)) return;
    this.#sent += samples;
    if (this.#sent - this.#marked < MARKER_EVERY) return;
    const id = this.#nextMarker++;
    this.#marked = this.#sent;
    this.#markers.set(id, { position: this.#sent, at: performance.now() });
    this.#link.sendMessage({ type: "Marker", id } satisfies TranscriptionControl);
  }
}
