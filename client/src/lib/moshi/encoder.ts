/** Encodes mono 24 kHz samples as binary frames: Opus if the browser can, raw PCM16 otherwise. */
import { encode } from "@msgpack/msgpack";
import { SAMPLE_RATE } from "./messages";
import { OggOpusMuxer, opusHead } from "./ogg";

export type FrameSink = (frame: Uint8Array<ArrayBuffer>, samples: number) => void;

export interface FrameEncoder {
  /** Query parameters that tell the server what the binary frames hold. */
  readonly query: Readonly<Record<string, string>>;
  encode(pcm: Float32Array): void;
  /** Resolves when every sample so far has been passed on in a frame. */
  flush(): Promise<void>;
  close(): void;
}

/** Makes a new encoder for each connection: an Ogg stream begins with its headers. */
export type EncoderFactory = (sink: FrameSink, onError: (error: Error) => void) => FrameEncoder;

/** `{type: "OggOpus", data: bin}` in MessagePack: whole Ogg pages. */
export function encodeOggOpus(pages: Uint8Array): Uint8Array<ArrayBuffer> {
  return encode({ type: "OggOpus", data: pages });
}

export function pcm16(pcm: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pcm.length * 2);
  const view = new DataView(bytes.buffer);
  pcm.forEach((x, i) => {
    const clipped = Math.max(-1, Math.min(1, x));
    view.setInt16(i * 2, Math.round(clipped * 32767), true);
  });
  return bytes;
}

export const pcm16Encoder: EncoderFactory = (sink) => ({
  query: { input: "pcm16", rate: String(SAMPLE_RATE) },
  encode: (pcm) => sink(pcm16(pcm), pcm.length),
  flush: () => Promise.resolve(),
  close: () => undefined,
});

const PACKET_MICROSECONDS = 20_000;
const PACKET_SAMPLES = SAMPLE_RATE / 50;
/** Two packets per page: 40 ms, half a frame of the model. */
const PACKETS_PER_PAGE = 2;
/** Samples at 48 kHz (6.5 ms) that libopus looks ahead, for encoders that don't provide their own header. */
const DEFAULT_PRE_SKIP = 312;

const OPUS_CONFIG: AudioEncoderConfig = {
  codec: "opus",
  sampleRate: SAMPLE_RATE,
  numberOfChannels: 1,
  bitrate: 32_000,
  // `application` is in the standard, but not yet in TypeScript's types.
  opus: { frameDuration: PACKET_MICROSECONDS, application: "voip" } as OpusEncoderConfig,
};

class OpusEncoder implements FrameEncoder {
  readonly query = {};
  readonly #sink: FrameSink;
  readonly #muxer = new OggOpusMuxer(crypto.getRandomValues(new Uint32Array(1))[0]!);
  readonly #encoder: AudioEncoder;
  #packets: Uint8Array[] = [];
  #headersSent = false;
  #taken = 0;

  constructor(sink: FrameSink, onError: (error: Error) => void) {
    this.#sink = sink;
    this.#encoder = new AudioEncoder({ output: (chunk, meta) => this.#onPacket(chunk, meta), error: onError });
    this.#encoder.configure(OPUS_CONFIG);
  }

  encode(pcm: Float32Array): void {
    const timestamp = Math.round((this.#taken * 1e6) / SAMPLE_RATE);
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: SAMPLE_RATE,
      numberOfChannels: 1,
      numberOfFrames: pcm.length,
      timestamp,
      data: new Float32Array(pcm),
    });
    this.#taken += pcm.length;
    this.#encoder.encode(data);
    data.close();
  }

  async flush(): Promise<void> {
    await this.#encoder.flush();
    if (this.#packets.length > 0) this.#emit();
  }

  close(): void {
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }

  #onPacket(chunk: EncodedAudioChunk, meta?: EncodedAudioChunkMetadata): void {
    if (!this.#headersSent) {
      const own = meta?.decoderConfig?.description;
      const head = own ? bytesOf(own) : opusHead(DEFAULT_PRE_SKIP, SAMPLE_RATE);
      this.#sink(encodeOggOpus(this.#muxer.headers(head)), 0);
      this.#headersSent = true;
    }
    const packet = new Uint8Array(chunk.byteLength);
    chunk.copyTo(packet);
    this.#packets.push(packet);
    if (this.#packets.length === PACKETS_PER_PAGE) this.#emit();
  }

  #emit(): void {
    const count = this.#packets.length;
    const page = this.#muxer.page(this.#packets, count * PACKET_SAMPLES * (48_000 / SAMPLE_RATE));
    this.#packets = [];
    this.#sink(encodeOggOpus(page), count * PACKET_SAMPLES);
  }
}

function bytesOf(source: AllowSharedBufferSource): Uint8Array {
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
}

/** Resolves with Opus if the browser has WebCodecs, with PCM16 (12 times the bytes) otherwise. */
export async function bestEncoder(): Promise<EncoderFactory> {
  if (typeof AudioEncoder === "undefined") return pcm16Encoder;
  const { supported } = await AudioEncoder.isConfigSupported(OPUS_CONFIG).catch(() => ({ supported: false }));
  return supported ? (sink, onError) => new OpusEncoder(sink, onError) : pcm16Encoder;
}
