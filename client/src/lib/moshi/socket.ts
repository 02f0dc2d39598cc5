/** One WebSocket, from its handshake to its close: frames in both directions, and the reason it ended. */
import type { SocketAddress } from "./credentials";
import { failureFromClose, MoshiError } from "./failure";

/** Bytes the browser may hold for a connection that doesn't drain: 40 s of PCM16, room for a whole replay. */
const MAX_UNSENT_BYTES = 1 << 21;
const WATCHDOG_MS = 1000;

export interface SocketHandler {
  onFrame(data: string | ArrayBuffer): void;
  /** Time since which the server owes an answer, in ms of `performance.now()`; `null` if it owes none. */
  owedSince(): number | null;
  /** Called once, as the last callback. `opened`: the handshake had succeeded. `null`: the socket ended as asked. */
  onClosed(error: MoshiError | null, opened: boolean): void;
}

export class Socket {
  readonly #handler: SocketHandler;
  readonly #stallMs: number;
  readonly #socket: WebSocket;
  readonly #watchdog: ReturnType<typeof setInterval>;
  #heardAt = 0;
  #opened = false;
  #ending = false;
  #over = false;

  /** `stallSeconds`: how long the server may owe an answer before the connection counts as dead. */
  constructor({ url, protocols }: SocketAddress, stallSeconds: number, handler: SocketHandler) {
    this.#handler = handler;
    this.#stallMs = stallSeconds * 1000;
    this.#socket = new WebSocket(url, protocols);
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => (this.#opened = true);
    this.#socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      this.#heardAt = performance.now();
      this.#handler.onFrame(data);
    };
    this.#socket.onclose = ({ code, reason }) => {
      this.#settle(this.#ending && code === 1000 ? null : failureFromClose(code, reason));
    };
    this.#watchdog = setInterval(() => this.#checkStall(), WATCHDOG_MS);
  }

  /** Sends a binary frame. Returns `false` if the connection is no longer open. */
  sendFrame(frame: Uint8Array<ArrayBuffer>): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.#socket.bufferedAmount > MAX_UNSENT_BYTES) {
      this.fail(new MoshiError("unreachable", "the network is too slow for the audio"));
      return false;
    }
    this.#socket.send(frame);
    return true;
  }

  /** Sends a control message as JSON. Dropped if the connection is no longer open. */
  sendMessage(message: object): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  /** From now on a normal close by the server is no failure. */
  expectClose(): void {
    this.#ending = true;
  }

  /** Closes the socket because of `error`. */
  fail(error: MoshiError): void {
    this.#settle(error);
  }

  /** Closes the socket at once, without waiting for anything from the server. */
  close(): void {
    this.#settle(null);
  }

  #checkStall(): void {
    const owed = this.#handler.owedSince();
    if (owed === null) return;
    // After a replay many answers are due at once: a server that works through them is not dead.
    if (performance.now() - Math.max(owed, this.#heardAt) > this.#stallMs) {
      this.fail(new MoshiError("unreachable", "the server has stopped answering"));
    }
  }

  #settle(error: MoshiError | null): void {
    if (this.#over) return;
    this.#over = true;
    clearInterval(this.#watchdog);
    this.#socket.onclose = this.#socket.onmessage = this.#socket.onopen = null;
    // The default 1000 is the only code below 3000 that a page may send.
    this.#socket.close();
    this.#handler.onClosed(error, this.#opened);
  }
}
