/**
 * A connection to one endpoint that outlives its sockets: credentials and their renewal, the queue, reconnecting with
 * back-off, the reason of the end. What is sent and received on it is the business of a `Protocol`, one per kind of stream.
 */
import { Backoff, type BackoffOptions } from "./backoff";
import { type Credential, type CredentialProvider, socketAddress } from "./credentials";
import { diagnose } from "./diagnose";
import { type ConnectionEvent, type ConnectionState, EventQueue } from "./events";
import { failureFromMessage, MoshiError } from "./failure";
import { isSessionMessage, type SessionControl, type SessionMessage } from "./messages";
import { Renewer } from "./renewal";
import { Socket } from "./socket";

const MAX_EVENTS = 10_000;

export interface ConnectionOptions {
  /** The endpoint, e.g. `https://captions.example.com/api/asr-streaming`. */
  url: URL;
  /** Asked before every connection. */
  credentials: CredentialProvider;
  /** Seconds that the server may owe an answer before the connection counts as dead. Default: 20. */
  stallSeconds?: number;
  /** Longest wait for the last messages of a stream that was finished, in seconds. Default: 10. */
  finishSeconds?: number;
  backoff?: BackoffOptions;
}

/** What one kind of stream does with its connection. `M`: the messages that only this kind has. */
export interface Protocol<M> {
  /** Prepares for a new socket. Returns the query parameters for its URL. */
  onOpening(): Readonly<Record<string, string>>;
  /** The server is ready: input may be sent on this socket from now on. */
  onLive(): void;
  /** Decodes a frame. Returns `null` for a message this client doesn't know; throws if the frame is not a message. */
  decode(data: string | ArrayBuffer): M | SessionMessage | null;
  onMessage(message: M): void;
  /** Time since which the server owes an answer, in ms of `performance.now()`; `null` if it owes none. */
  owedSince(): number | null;
  /** There is no socket any more: whatever was still on its way is lost. */
  onLost(): void;
}

/** `E`: the events that only this kind of stream has. */
export class Connection<M extends { type: string }, E> {
  /** Everything that happens on the connection, in order. */
  readonly events: EventQueue<E | ConnectionEvent>;
  readonly #options: ConnectionOptions;
  readonly #protocol: Protocol<M>;
  readonly #backoff: Backoff;
  #state: ConnectionState = "connecting";
  #socket: Socket | null = null;
  #renewer: Renewer | null = null;
  /** The server's own words about why it is going to close this socket. */
  #serverError: MoshiError | null = null;
  /** A fresh credential was fetched because the last one was refused. */
  #refreshed = false;
  #retry: ReturnType<typeof setTimeout> | null = null;
  #deadline: ReturnType<typeof setTimeout> | null = null;

  /** Connects at once; the first callback of `protocol` comes later. */
  constructor(options: ConnectionOptions, protocol: Protocol<M>) {
    this.#options = options;
    this.#protocol = protocol;
    this.#backoff = new Backoff(options.backoff);
    this.events = new EventQueue<E | ConnectionEvent>(MAX_EVENTS, () =>
      this.#end(new MoshiError("protocol", "the events of the stream were not read")),
    );
    void this.#connect(false);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Sends a binary frame. Returns `false` if there is no open socket. */
  sendFrame(frame: Uint8Array<ArrayBuffer>): boolean {
    return this.#socket?.sendFrame(frame) ?? false;
  }

  /** Sends a control message as JSON. Dropped if there is no open socket. */
  sendMessage(message: object): void {
    this.#socket?.sendMessage(message);
  }

  /** The server has done what it was asked for: earlier failures no longer count. */
  succeeded(): void {
    this.#backoff.reset();
    this.#refreshed = false;
  }

  /** Gives this socket up because of `error`. Connects again if that can help. */
  fail(error: MoshiError): void {
    this.#socket?.fail(error);
  }

  /** Waits for the end of the stream, which the caller asks the server for. Only in the state `live`. */
  awaitEnd(): void {
    this.#setState("finishing");
    this.#socket?.expectClose();
    this.#deadline = setTimeout(() => this.#end(null), (this.#options.finishSeconds ?? 10) * 1000);
  }

  /** Ends everything at once. */
  close(): void {
    this.#end(null);
  }

  /** Ends the wait before the next try: the user asked for it, or the network is back. */
  retryNow(): void {
    if (this.#state !== "waiting" || this.#retry === null) return;
    clearTimeout(this.#retry);
    void this.#connect(false);
  }

  async #connect(refresh: boolean): Promise<void> {
    this.#retry = null;
    this.#serverError = null;
    this.#setState("connecting");
    try {
      const credential = await this.#options.credentials({ refresh });
      const address = await socketAddress(this.#options.url, credential);
      if (this.#over) return;
      // Refusals come as close codes, which a page can read; it can't read the answer to a handshake.
      address.url.searchParams.set("auth_close", "1");
      for (const [name, value] of Object.entries(this.#protocol.onOpening())) address.url.searchParams.set(name, value);
      this.#socket = new Socket(address, this.#options.stallSeconds ?? 20, {
        onFrame: (data) => this.#onFrame(data),
        owedSince: () => this.#protocol.owedSince(),
        onClosed: (error, opened) => void this.#onClosed(error && (this.#serverError ?? error), opened, credential),
      });
      const renewal = credential.via === "key" ? undefined : credential.renewal;
      this.#renewer = renewal ? new Renewer(renewal, (token) => this.#renew(token)) : null;
    } catch (error) {
      if (this.#over) return;
      this.#protocol.onLost();
      this.#onFailure(error instanceof MoshiError ? error : couldNotOpen(error));
    }
  }

  /** Reads the state as it is now: it may have changed during an await. */
  get #over(): boolean {
    return this.#state === "closed";
  }

  #renew(token: string): void {
    if (this.#state === "live") this.sendMessage({ type: "Renew", token } satisfies SessionControl);
  }

  #onFrame(data: string | ArrayBuffer): void {
    let message: M | SessionMessage | null;
    try {
      message = this.#protocol.decode(data);
    } catch {
      return this.fail(new MoshiError("protocol", "the server sent something that is not a message"));
    }
    if (message === null) return;
    if (isSessionMessage(message)) this.#onSessionMessage(message);
    else this.#protocol.onMessage(message);
  }

  #onSessionMessage(message: SessionMessage): void {
    switch (message.type) {
      case "Queued":
        if (this.#state !== "queued") this.#setState("queued");
        return this.events.push({ type: "queued", position: message.position });
      case "Ready":
        return this.#onReady();
      case "Draining":
        return this.events.push({ type: "draining", deadline: message.deadline_s });
      case "EndOfStream":
        // A server that shuts down ends the stream too and then closes: that calls for a reconnect.
        if (this.#state === "finishing") this.#end(null);
        return;
      case "Renewed":
        return this.#renewer?.renewed(message.valid_s);
      case "NotRenewed":
        return;
      case "Error":
        this.#serverError = failureFromMessage(message.message);
    }
  }

  #onReady(): void {
    // A server that resets the stream's row says `Ready` again and goes on.
    if (this.#state === "live" || this.#state === "finishing") return;
    this.#setState("live");
    this.#renewer?.start();
    this.#protocol.onLive();
  }

  async #onClosed(error: MoshiError | null, opened: boolean, credential: Credential): Promise<void> {
    this.#socket = null;
    this.#renewer?.stop();
    this.#protocol.onLost();
    if (this.#over) return;
    if (error === null || this.#state === "finishing") return this.#end(error);
    const cause = opened ? error : await diagnose(this.#options.url, credential);
    if (!this.#over) this.#onFailure(cause);
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
    this.events.push({ type: "state", state: "waiting", retryIn, error });
    this.#retry = setTimeout(() => void this.#connect(false), retryIn * 1000);
  }

  #setState(state: Exclude<ConnectionState, "waiting">): void {
    this.#state = state;
    this.events.push({ type: "state", state });
  }

  #end(error: MoshiError | null): void {
    if (this.#over) return;
    this.#state = "closed";
    if (this.#retry !== null) clearTimeout(this.#retry);
    if (this.#deadline !== null) clearTimeout(this.#deadline);
    this.#renewer?.stop();
    this.#socket?.close();
    const closed: ConnectionEvent = { type: "state", state: "closed" };
    this.events.end(error ? [{ type: "failed", error }, closed] : [closed]);
  }
}

/** Without the error's own text: a browser that refuses to open a WebSocket puts the token into it. */
function couldNotOpen(error: unknown): MoshiError {
  return new MoshiError("protocol", `the connection could not be opened (${error instanceof Error ? error.name : typeof error})`);
}
