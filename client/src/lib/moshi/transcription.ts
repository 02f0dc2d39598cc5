/**
 * A live transcription that survives its connections.
 *
 * ```ts
 * const transcription = new Transcription({ url, credentials, encoder: await bestEncoder() });
 * microphone.onChunk = (pcm) => transcription.send(pcm);
 * for await (const event of transcription) if (event.type === "word") show(event.text, event.start);
 * ```
 *
 * Audio that the server hasn't confirmed is kept (up to `replaySeconds`) and sent again after a reconnect. The words from
 * there on come again too: a `resumed` event says from which second.
 */
import { AudioBacklog } from "./backlog";
import { Connection, type ConnectionOptions } from "./connection";
import type { EncoderFactory } from "./encoder";
import type { ConnectionEvent, ConnectionState } from "./events";
import { SAMPLE_RATE, type SessionControl } from "./messages";
import { readTranscriptionMessage, type TranscriptionMessage } from "./transcription-messages";
import { AudioUplink } from "./uplink";

const FRAME_SECONDS = 0.08;

export interface TranscriptionOptions extends ConnectionOptions {
  /** How audio is sent: `bestEncoder()` or `pcm16Encoder`. */
  encoder: EncoderFactory;
  /** Unconfirmed audio kept for a new connection, in seconds. Default: 20. */
  replaySeconds?: number;
}

/** All times are seconds since the first sample of the transcription, across reconnects. */
export type TranscriptionEvent =
  | ConnectionEvent
  | { type: "word"; text: string; start: number }
  /** The end of the last word. */
  | { type: "wordEnd"; stop: number }
  /** One processed frame, which ends at `time`. `pauses`: the model's probabilities that the speaker has paused. */
  | { type: "step"; time: number; pauses: number[] }
  /** Everything before `time` is transcribed; its words came `seconds` after the audio was sent. */
  | { type: "confirmed"; time: number; seconds: number }
  /** A new connection goes on at `from`; `missing` seconds of audio before it are lost. */
  | { type: "resumed"; from: number; missing: number };

export class Transcription implements AsyncIterable<TranscriptionEvent> {
  readonly #encoder: EncoderFactory;
  readonly #backlog: AudioBacklog;
  readonly #connection: Connection<TranscriptionMessage, TranscriptionEvent>;
  #uplink: AudioUplink | null = null;
  /** Position of the current connection's first sample, in samples since the transcription began. */
  #origin = 0;
  /** Frames that the server has processed on the current connection. */
  #steps = 0;
  #everLive = false;

  /** Connects at once. */
  constructor(options: TranscriptionOptions) {
    this.#encoder = options.encoder;
    this.#backlog = new AudioBacklog((options.replaySeconds ?? 20) * SAMPLE_RATE);
    this.#connection = new Connection<TranscriptionMessage, TranscriptionEvent>(options, {
      onOpening: () => this.#onOpening(),
      onLive: () => this.#onLive(),
      decode: (data) => decode(data),
      onMessage: (message) => this.#onMessage(message),
      owedSince: () => this.#uplink?.owedSince ?? null,
      onLost: () => this.#onLost(),
    });
  }

  get state(): ConnectionState {
    return this.#connection.state;
  }

  [Symbol.asyncIterator](): AsyncIterator<TranscriptionEvent> {
    return this.#connection.events[Symbol.asyncIterator]();
  }

  /** Mono samples at 24 kHz in [-1, 1], any number. Kept while there is no connection. The array must not change later. */
  send(pcm: Float32Array): void {
    if (this.state === "closed" || this.state === "finishing") return;
    this.#backlog.push(pcm);
    if (this.state === "live") this.#uplink?.send(pcm);
  }

  /** Asks for the last words. The iteration ends when they have come, or at once without a live connection. */
  finish(): void {
    if (this.state !== "live" || !this.#uplink) return this.close();
    this.#connection.awaitEnd();
    this.#uplink.flush().then(
      () => this.#connection.sendMessage({ type: "EndOfStream" } satisfies SessionControl),
      // The connection was lost or the encoder failed, either of which has ended the transcription.
      () => undefined,
    );
  }

  /** Ends everything at once. */
  close(): void {
    this.#connection.close();
  }

  /** Ends the wait before the next try: the user asked for it, or the network is back. */
  retryNow(): void {
    this.#connection.retryNow();
  }

  #onOpening(): Record<string, string> {
    this.#uplink = new AudioUplink(this.#encoder, this.#connection);
    return { format: "json", ...this.#uplink.query };
  }

  #onLive(): void {
    if (this.#everLive) {
      const missing = this.#backlog.missing / SAMPLE_RATE;
      this.#connection.events.push({ type: "resumed", from: this.#backlog.start / SAMPLE_RATE, missing });
    }
    this.#backlog.forgetMissing();
    this.#origin = this.#backlog.start;
    this.#steps = 0;
    this.#everLive = true;
    for (const pcm of this.#backlog.held()) this.#uplink?.send(pcm);
  }

  #onMessage(message: TranscriptionMessage): void {
    const { events } = this.#connection;
    switch (message.type) {
      case "Word":
        return events.push({ type: "word", text: message.text, start: this.#seconds(message.start_time) });
      case "EndWord":
        return events.push({ type: "wordEnd", stop: this.#seconds(message.stop_time) });
      case "Step":
        this.#steps += 1;
        return events.push({ type: "step", time: this.#seconds(this.#steps * FRAME_SECONDS), pauses: message.prs });
      case "Marker":
        return this.#onMarker(message.id);
    }
  }

  #onMarker(id: number): void {
    const answer = this.#uplink?.answered(id);
    if (!answer) return;
    const position = this.#origin + answer.position;
    this.#backlog.confirm(position);
    this.#connection.succeeded();
    this.#connection.events.push({ type: "confirmed", time: position / SAMPLE_RATE, seconds: answer.seconds });
  }

  #onLost(): void {
    this.#uplink?.close();
    this.#uplink = null;
  }

  /** Seconds since the transcription began. `connectionSeconds`: since the current connection began. */
  #seconds(connectionSeconds: number): number {
    return this.#origin / SAMPLE_RATE + connectionSeconds;
  }
}

function decode(data: string | ArrayBuffer) {
  if (typeof data !== "string") throw new TypeError("binary frame");
  return readTranscriptionMessage(JSON.parse(data));
}
