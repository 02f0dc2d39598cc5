/** Speaks the server's side of the protocol, one test's script at a time. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { decode } from "@msgpack/msgpack";
import { WebSocket, WebSocketServer } from "ws";

export const PATH = "/api/asr-streaming";

export class FakeConnection {
  readonly controls: { type: string; id?: number; token?: string }[] = [];
  readonly frames: Uint8Array[] = [];
  echoMarkers = true;
  readonly closed: Promise<number>;
  #waiters: { enough: () => boolean; done: () => void }[] = [];

  constructor(
    readonly socket: WebSocket,
    readonly request: IncomingMessage,
  ) {
    socket.on("message", (data, isBinary) => {
      const bytes = new Uint8Array(data as Buffer);
      if (isBinary) {
        this.frames.push(bytes);
      } else {
        const message = JSON.parse(new TextDecoder().decode(bytes)) as { type: string; id?: number; token?: string };
        this.controls.push(message);
        if (message.type === "Marker" && this.echoMarkers) this.send(message);
      }
      this.#waiters = this.#waiters.filter(({ enough, done }) => !enough() || (done(), false));
    });
    this.closed = new Promise((resolve) => socket.on("close", resolve));
  }

  get query(): URLSearchParams {
    return new URL(this.request.url ?? "/", "http://fake").searchParams;
  }

  /** Bytes of Ogg pages received, from MessagePack frames. */
  get ogg(): Uint8Array[] {
    return this.frames.map((frame) => (decode(frame) as { data: Uint8Array }).data);
  }

  /** PCM16 samples received. */
  get samples(): number[] {
    return this.frames.flatMap((frame) => {
      const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
      return Array.from({ length: frame.length / 2 }, (_, i) => view.getInt16(i * 2, true));
    });
  }

  send(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  ready(): void {
    this.send({ type: "Ready" });
  }

  say(text: string, start: number, stop: number): void {
    this.send({ type: "Word", text, start_time: start });
    this.send({ type: "EndWord", stop_time: stop });
  }

  close(code: number): void {
    this.socket.close(code);
  }

  /** Resolves when `enough` holds after some message. */
  until(enough: () => boolean): Promise<void> {
    if (enough()) return Promise.resolve();
    return new Promise((done) => this.#waiters.push({ enough, done }));
  }
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export class FakeServer {
  /** Status of `/api/auth-check`. */
  authStatus = 200;
  /** Status that handshakes are refused with. */
  refuseUpgrade: number | null = null;
  usedSlots = 0;
  port = 0;
  /** Answers by `METHOD path`. */
  readonly routes = new Map<string, Handler>();
  /** Answers everything else. */
  fallback: Handler = (_request, response) => void response.writeHead(404).end();
  onConnection: (connection: FakeConnection) => void = (connection) => connection.ready();
  #next: ((connection: FakeConnection) => void)[] = [];
  #arrived: FakeConnection[] = [];
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => (offered.has("moshi") ? "moshi" : false) });

  private constructor() {
    this.#server = createServer((request, response) => this.#onRequest(request, response));
    this.#server.on("upgrade", (request, socket, head) => {
      if (this.refuseUpgrade !== null) {
        socket.end(`HTTP/1.1 ${this.refuseUpgrade} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
        return;
      }
      this.#sockets.handleUpgrade(request, socket, head, (ws) => {
        const connection = new FakeConnection(ws, request);
        const next = this.#next.shift();
        if (next) next(connection);
        else this.#arrived.push(connection);
        this.onConnection(connection);
      });
    });
  }

  static async start(port = 0): Promise<FakeServer> {
    const fake = new FakeServer();
    await new Promise<void>((resolve) => fake.#server.listen(port, "127.0.0.1", resolve));
    fake.port = (fake.#server.address() as AddressInfo).port;
    return fake;
  }

  get url(): URL {
    return new URL(`http://127.0.0.1:${this.port}${PATH}`);
  }

  /** The next connection that no test has taken yet. */
  connection(): Promise<FakeConnection> {
    const arrived = this.#arrived.shift();
    return arrived ? Promise.resolve(arrived) : new Promise((resolve) => this.#next.push(resolve));
  }

  /** Leaves the next test none of this one's connections. */
  forgetConnections(): void {
    this.#arrived = [];
    this.#next = [];
  }

  async stop(): Promise<void> {
    for (const client of this.#sockets.clients) client.terminate();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #onRequest(request: IncomingMessage, response: ServerResponse): void {
    response.setHeader("Access-Control-Allow-Origin", request.headers.origin ?? "*");
    response.setHeader("Access-Control-Allow-Credentials", "true");
    response.setHeader("Access-Control-Allow-Headers", "authorization, kyutai-api-key, content-type");
    const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    const route = this.routes.get(`${request.method} ${path}`);
    if (request.method === "OPTIONS") response.writeHead(204).end();
    else if (route) route(request, response);
    else if (path === "/api/auth-check") response.writeHead(this.authStatus).end();
    else if (path === "/api/modules_info") json(response, [{ type: "stt", path: PATH, used_slots: String(this.usedSlots), total_slots: "4" }]);
    else this.fallback(request, response);
  }
}

export function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
