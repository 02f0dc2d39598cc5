/** One WebSocket connection: from its first sample to its last word. Reconnecting is the stream's business. */
import type { SocketAddress } from "./credentials";
import type { EncoderFactory, FrameEncoder } from "./encoder";
import { failureFromClose, failureFromMessage, MoshiError } from "./failure";
import { type ControlMessage, parseServerMessage, SAMPLE_RATE, type ServerMessage } from "./messages";

/** A marker this often tells how far the server has come. */
const MARKER_EVERY = SAMPLE_RATE;
/** Bytes the browser may hold for a connection that doesn't drain: 40 s of PCM16, room for a whole replay. */
const MAX_UNSENT_BYTES = 1 << 21;

export interface ConnectionHandler {
  onMessage(message: Exclude<ServerMessage, { type: "Marker" }>): void;
  /** Every sample before `sent` (of this connection) is transcribed, `seconds` after it was sent. */
  onConfirmed(sent: number, seconds: number): void;
  /** The last thing that is called. `opened`: the handshake had succeeded. `null`: ended as asked. */
  onClosed(error: MoshiError | null, opened: boolean): void;
}

export interface ConnectionOptions {
  address: SocketAddress;
  encoder: EncoderFactory;
  /** Seconds without an answer after which the connection counts as dead. */
  stallSeconds: number;
}

export class Connection {
  readonly #handler: ConnectionHandler;
  readonly #socket: WebSocket;
  readonly #encoder: FrameEncoder;
  readonly #markers = new Map<number, { position: number; at: number }>();
  #sent = 0;
  #marked = 0;
  #heardAt = 0;
  #nextMarker = 0;
  #opened = false;
  #ending = false;
  #over = false;
  #serverError: MoshiError | null = null;
  readonly #watchdog: ReturnType<typeof setInterval>;
  readonly #stallSeconds: number;

  constructor({ address, encoder, stallSeconds }: ConnectionOptions, handler: ConnectionHandler) {
    this.#handler = handler;
    this.#stallSeconds = stallSeconds;
    this.#encoder = encoder(
      (frame, samples) => this.#sendFrame(frame, samples),
      () => this.#fail(new MoshiError("protocol", "the browser's audio encoder failed")),
    );
    const url = new URL(address.url);
    url.searchParams.set("format", "json");
    url.searchParams.set("auth_close", "1");
    for (const [name, value] of Object.entries(this.#encoder.query)) url.searchParams.set(name, value);
    this.#socket = new WebSocket(url, address.protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => (this.#opened = true);
    this.#socket.onmessage = ({ data }) => this.#onData(data);
    this.#socket.onclose = ({ code, reason }) => this.#onClose(code, reason);
    this.#watchdog = setInterval(() => this.#checkStall(), 1000);
  }

  /** `pcm`: mono, 24 kHz. Only after `Ready`. */
  send(pcm: Float32Array): void {
    if (!this.#over && !this.#ending) this.#encoder.encode(pcm);
  }

  /** Sends what is left and asks for the tail; the server closes when it has all been said. */
  async finish(): Promise<void> {
    this.#ending = true;
    await this.#encoder.flush();
    this.#control({ type: "EndOfStream" });
  }

  /** Shows the server a newer token. Only after `Ready`. */
  renew(token: string): void {
    if (!this.#over && !this.#ending) this.#control({ type: "Renew", token });
  }

  /** Closes at once, without waiting for words. */
  close(): void {
    this.#ending = true;
    this.#settle(null);
  }

  #sendFrame(frame: Uint8Array<ArrayBuffer>, samples: number): void {
    if (this.#over || this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > MAX_UNSENT_BYTES) {
      return this.#fail(new MoshiError("unreachable", "the network is too slow for the audio"));
    }
    this.#socket.send(frame);
    this.#sent += samples;
    if (this.#sent - this.#marked >= MARKER_EVERY) {
      const id = this.#nextMarker++;
      this.#marked = this.#sent;
      this.#markers.set(id, { position: this.#sent, at: performance.now() });
      this.#control({ type: "Marker", id });
    }
  }

  #control(message: ControlMessage): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #onData(data: unknown): void {
    if (this.#over) return;
    this.#heardAt = performance.now();
    let message: ServerMessage | null;
    try {
      if (typeof data !== "string") throw new TypeError("binary frame");
      message = parseServerMessage(data);
    } catch {
      return this.#fail(new MoshiError("protocol", "the server sent something that is no message"));
    }
    if (message === null) return;
    if (message.type === "Marker") return this.#onMarker(message.id);
    if (message.type === "Error") this.#serverError = failureFromMessage(message.message);
    this.#handler.onMessage(message);
  }

  #onMarker(id: number): void {
    const marker = this.#markers.get(id);
    if (!marker) return;
    this.#markers.delete(id);
    this.#handler.onConfirmed(marker.position, (performance.now() - marker.at) / 1000);
  }

  #checkStall(): void {
    const oldest = this.#markers.values().next().value;
    // A replay has many markers on their way at once: a server that works through them is not dead.
    const since = oldest && Math.max(oldest.at, this.#heardAt);
    if (since !== undefined && performance.now() - since > this.#stallSeconds * 1000) {
      this.#fail(new MoshiError("unreachable", "the server has stopped answering"));
    }
  }

  #onClose(code: number, reason: string): void {
    if (this.#ending && code === 1000) return this.#settle(null);
    this.#settle(this.#serverError ?? failureFromClose(code, reason));
  }

  #fail(error: MoshiError): void {
    this.#settle(error);
  }

  #settle(error: MoshiError | null): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#watchdog);
    this.#encoder.close();
    this.#socket.onclose = this.#socket.onmessage = this.#socket.onopen = null;
    // The default 1000 is the only code below 3000 that a page may send.
    this.#socket.close();
    this.#handler.onClosed(error, this.#opened);
  }
}
