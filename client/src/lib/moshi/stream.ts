/**
 * A live transcription that survives its connections.
 *
 * ```ts
 * const stream = new MoshiStream({ url, credentials, encoder: await bestEncoder() });
 * microphone.onChunk = (pcm) => stream.send(pcm);
 * for await (const event of stream) if (event.type === "word") show(event.text, event.start);
 * ```
 *
 * Audio that the server hasn't confirmed is kept (up to `replaySeconds`) and sent again after a reconnect;
 * words from there on come again too: a `resumed` event says from which second.
 */
import { Backoff, type BackoffOptions } from "./backoff";
import { AudioBacklog } from "./backlog";
import { Connection } from "./connection";
import { type Credential, type CredentialProvider, socketAddress } from "./credentials";
import { diagnose } from "./diagnose";
import type { EncoderFactory } from "./encoder";
import { EventQueue, type StreamEvent, type StreamState } from "./events";
import { MoshiError } from "./failure";
import { SAMPLE_RATE, type ServerMessage } from "./messages";
import { Renewer } from "./renewal";

const FRAME_SECONDS = 0.08;
const MAX_EVENTS = 10_000;

export interface StreamOptions {
  /** The transcription endpoint, e.g. `https://captions.example/api/asr-streaming`. */
  url: URL;
  credentials: CredentialProvider;
  encoder: EncoderFactory;
  /** Unconfirmed audio kept for a new connection, in seconds. */
  replaySeconds?: number;
  /** Seconds without an answer after which a connection counts as dead. */
  stallSeconds?: number;
  /** Seconds to wait for the last words after `finish`. */
  finishSeconds?: number;
  backoff?: BackoffOptions;
}

export class MoshiStream implements AsyncIterable<StreamEvent> {
  readonly #options: Required<Omit<StreamOptions, "backoff">>;
  readonly #backoff: Backoff;
  readonly #backlog: AudioBacklog;
  readonly #events = new EventQueue(MAX_EVENTS, () =>
    this.#end(new MoshiError("protocol", "the events of the stream were not read")),
  );
  #state: StreamState = "connecting";
  #connection: Connection | null = null;
  #renewer: Renewer | null = null;
  /** Stream position of the current connection's first sample. */
  #origin = 0;
  #steps = 0;
  #everLive = false;
  #refreshed = false;
  #retry: ReturnType<typeof setTimeout> | null = null;
  #deadline: ReturnType<typeof setTimeout> | null = null;

  constructor(options: StreamOptions) {
    this.#options = { replaySeconds: 20, stallSeconds: 20, finishSeconds: 10, ...options };
    this.#backoff = new Backoff(options.backoff);
    this.#backlog = new AudioBacklog(this.#options.replaySeconds * SAMPLE_RATE);
    void this.#connect(false);
  }

  get state(): StreamState {
    return this.#state;
  }

  [Symbol.asyncIterator](): AsyncIterator<StreamEvent> {
    return this.#events[Symbol.asyncIterator]();
  }

  /** Mono 24 kHz samples in [-1, 1], any number. Kept while there is no connection. The array must not change later. */
  send(pcm: Float32Array): void {
    if (this.#state === "closed" || this.#state === "finishing") return;
    this.#backlog.push(pcm);
    if (this.#state === "live") this.#connection?.send(pcm);
  }

  /** Asks for the last words; the iteration ends when they have come, or at once without a live connection. */
  finish(): void {
    if (this.#state !== "live" || !this.#connection) return this.#end(null);
    this.#setState("finishing");
    this.#deadline = setTimeout(() => this.#end(null), this.#options.finishSeconds * 1000);
    void this.#connection.finish();
  }

  /** Ends everything at once. */
  close(): void {
    this.#end(null);
  }

  /** Cuts the waiting before the next try short: the user asked, or the network is back. */
  retryNow(): void {
    if (this.#state !== "waiting" || this.#retry === null) return;
    clearTimeout(this.#retry);
    void this.#connect(false);
  }

  async #connect(refresh: boolean): Promise<void> {
    this.#retry = null;
    this.#setState("connecting");
    let credential: Credential;
    try {
      credential = await this.#options.credentials({ refresh });
      const address = await socketAddress(this.#options.url, credential);
      if (this.#over) return;
      this.#connection = new Connection(
        { address, encoder: this.#options.encoder, stallSeconds: this.#options.stallSeconds },
        {
          onMessage: (message) => this.#onMessage(message),
          onConfirmed: (sent, seconds) => this.#onConfirmed(sent, seconds),
          onClosed: (error, opened) => void this.#onClosed(error, opened, credential),
        },
      );
      const renewal = credential.via === "key" ? undefined : credential.renewal;
      this.#renewer = renewal ? new Renewer(renewal, (token) => this.#connection?.renew(token)) : null;
    } catch (error) {
      if (this.#over) return;
      this.#onFailure(error instanceof MoshiError ? error : new MoshiError("protocol", String(error)));
    }
  }

  /** Reads the state as it is now: it may have changed during an await. */
  get #over(): boolean {
    return this.#state === "closed";
  }

  #onMessage(message: Exclude<ServerMessage, { type: "Marker" }>): void {
    switch (message.type) {
      case "Queued":
        if (this.#state !== "queued") this.#setState("queued");
        return this.#events.push({ type: "queued", position: message.position });
      case "Ready":
        return this.#onReady();
      case "Word":
        return this.#events.push({ type: "word", text: message.text, start: this.#seconds(message.start_time) });
      case "EndWord":
        return this.#events.push({ type: "wordEnd", stop: this.#seconds(message.stop_time) });
      case "Step":
        this.#steps += 1;
        return this.#events.push({ type: "step", time: this.#seconds(this.#steps * FRAME_SECONDS), pauses: message.prs });
      case "Draining":
        return this.#events.push({ type: "draining", deadline: message.deadline_s });
      case "EndOfStream":
        // A server that stops ends the stream too, and then closes: that is a reconnect, and not our end.
        if (this.#state === "finishing") this.#end(null);
        return;
      case "Renewed":
        return this.#renewer?.renewed(message.valid_s);
      case "Flushed":
      case "NotRenewed":
      case "Error":
        return;
    }
  }

  #seconds(ofConnection: number): number {
    return this.#origin / SAMPLE_RATE + ofConnection;
  }

  #onReady(): void {
    // A row that is reset in mid-stream says `Ready` again and goes on.
    if (this.#state === "live") return;
    if (this.#everLive) {
      const missing = this.#backlog.missing / SAMPLE_RATE;
      this.#events.push({ type: "resumed", from: this.#backlog.start / SAMPLE_RATE, missing });
    }
    this.#backlog.forgetMissing();
    this.#origin = this.#backlog.start;
    this.#steps = 0;
    this.#everLive = true;
    this.#setState("live");
    this.#renewer?.start();
    for (const pcm of this.#backlog.held()) this.#connection?.send(pcm);
  }

  #onConfirmed(sent: number, seconds: number): void {
    const position = this.#origin + sent;
    this.#backlog.confirm(position);
    this.#backoff.reset();
    this.#refreshed = false;
    this.#events.push({ type: "confirmed", time: position / SAMPLE_RATE, seconds });
  }

  async #onClosed(error: MoshiError | null, opened: boolean, credential: Credential): Promise<void> {
    this.#connection = null;
    this.#renewer?.stop();
    if (this.#over) return;
    if (error === null || this.#state === "finishing") return this.#end(error);
    if (!opened) error = await diagnose(this.#options.url, credential);
    if (!this.#over) this.#onFailure(error);
  }

  #onFailure(error: MoshiError): void {
    if (error.kind === "unauthenticated" && !this.#refreshed) {
      this.#refreshed = true;
      void this.#connect(true);
      return;
    }
    if (!error.retryable) return this.#end(error);
    const retryIn = Math.max(this.#backoff.next(), error.retryAfter ?? 0);
    this.#state = "waiting";
    this.#events.push({ type: "state", state: "waiting", retryIn, error });
    this.#retry = setTimeout(() => void this.#connect(false), retryIn * 1000);
  }

  #setState(state: Exclude<StreamState, "waiting">): void {
    this.#state = state;
    this.#events.push({ type: "state", state });
  }

  #end(error: MoshiError | null): void {
    if (this.#over) return;
    this.#state = "closed";
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (this.#deadline !== null) clearTimeout(this.#deadline);
    this.#renewer?.stop();
    this.#connection?.close();
    const closed: StreamEvent = { type: "state", state: "closed" };
    this.#events.end(error ? [{ type: "failed", error }, closed] : [closed]);
  }
}
