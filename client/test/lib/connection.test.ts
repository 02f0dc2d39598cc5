import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Credential, MoshiError } from "../../src/lib/moshi";
import { Connection, type ConnectionOptions } from "../../src/lib/moshi/connection";
import { readMessage, SESSION_SHAPES, type SessionMessage, type Shapes } from "../../src/lib/moshi/messages";
import { isLive, isWaiting, reader } from "../support/events";
import { type FakeConnection, FakeServer } from "../support/fake-server";

/** A kind of stream that no server has: numbers as text frames, their squares as binary ones. */
type NumberMessage = { type: "Number"; value: number };
type NumberEvent = { type: "number"; value: number } | { type: "lost" };

const SHAPES: Shapes<NumberMessage | SessionMessage> = { ...SESSION_SHAPES, Number: { value: "number" } };

class Numbers {
  readonly connection: Connection<NumberMessage, NumberEvent>;
  /** Since when the server owes an answer. */
  owedSince: number | null = null;

  constructor(options: ConnectionOptions) {
    const connection = new Connection<NumberMessage, NumberEvent>(options, {
      onOpening: () => ({ base: "10" }),
      onLive: () => connection.sendFrame(Uint8Array.of(1, 2)),
      decode: (data) =>
        typeof data === "string" ? readMessage(JSON.parse(data), SHAPES) : { type: "Number", value: new Uint8Array(data)[0]! ** 2 },
      onMessage: ({ value }) => connection.events.push({ type: "number", value }),
      owedSince: () => this.owedSince,
      onLost: () => connection.events.push({ type: "lost" }),
    });
    this.connection = connection;
  }

  [Symbol.asyncIterator]() {
    return this.connection.events[Symbol.asyncIterator]();
  }
}

let server: FakeServer;
let open: Numbers[] = [];

beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(async () => {
  for (const { connection } of open) connection.close();
  open = [];
  await server.stop();
});

function connect(options: Partial<ConnectionOptions> = {}): Numbers {
  const numbers = new Numbers({
    url: server.url,
    credentials: () => Promise.resolve({ via: "cookie" }),
    backoff: { base: 0.01, cap: 0.05 },
    ...options,
  });
  open.push(numbers);
  return numbers;
}

describe("a connection", () => {
  test("asks for readable closes and whatever its kind of stream needs", async () => {
    connect();
    const { query, request } = await server.connection();
    expect(Object.fromEntries(query)).toEqual({ auth_close: "1", base: "10" });
    expect(request.headers["sec-websocket-protocol"]).toBeUndefined();
  });

  test("carries the frames and messages of any kind of stream", async () => {
    const next = reader(connect());
    const connection = await server.connection();
    await connection.until(() => connection.frames.length === 1);
    expect(connection.frames).toEqual([Uint8Array.of(1, 2)]);
    connection.send({ type: "Number", value: 3 });
    connection.socket.send(Uint8Array.of(4));
    expect(await next("number")).toEqual({ type: "number", value: 3 });
    expect(await next("number")).toEqual({ type: "number", value: 16 });
  });

  test("tells its kind of stream when a socket is lost, before it opens the next one", async () => {
    const numbers = connect();
    const next = reader(numbers);
    (await server.connection()).close(1012);
    await next("lost");
    await next("state", isLive);
  });

  test("waits for the end that was asked for, and not for long", async () => {
    const numbers = connect({ finishSeconds: 0.01 });
    const next = reader(numbers);
    await next("state", isLive);
    numbers.connection.awaitEnd();
    expect((await next("state")).state).toBe("finishing");
    expect((await next("state")).state).toBe("closed");
    await expect(next("failed")).rejects.toThrow("ended");
  });

  test("ends when nobody reads its events", async () => {
    const numbers = connect();
    const connection = await server.connection();
    for (let value = 0; value < 11_000; value++) connection.send({ type: "Number", value });
    await connection.closed;
    expect((await reader(numbers)("failed")).error).toMatchObject({ kind: "protocol" });
  });

  test("leaves a server that owes an answer for too long", async () => {
    const numbers = connect({ stallSeconds: 0.05 });
    const next = reader(numbers);
    await next("state", isLive);
    numbers.owedSince = performance.now();
    expect(await next("state", isWaiting)).toMatchObject({ error: { kind: "unreachable" } });
  });

  test("ends with a reason when the token fits into no handshake, and the token is not part of it", async () => {
    const credentials = () => Promise.resolve({ via: "token" as const, token: "not a token" });
    const { error } = await reader(connect({ credentials }))("failed");
    expect(error.kind).toBe("protocol");
    expect(error.message).not.toContain("not a token");
  });
});

describe("renewing", () => {
  const signedIn = (made: { count: number }) => () =>
    Promise.resolve({
      via: "token" as const,
      token: "first",
      renewal: { seconds: 0.1, token: () => Promise.resolve(`newer ${++made.count}`) },
    });
  const renewals = (connection: FakeConnection) => connection.controls.filter((c) => c.type === "Renew");

  test("a live session shows newer tokens as long as the server takes them", async () => {
    const numbers = connect({ credentials: signedIn({ count: 0 }) });
    const connection = await server.connection();
    await connection.until(() => renewals(connection).length === 1);
    connection.send({ type: "Renewed", valid_s: 0.1 });
    await connection.until(() => renewals(connection).length === 2);
    expect(renewals(connection)).toEqual([
      { type: "Renew", token: "newer 1" },
      { type: "Renew", token: "newer 2" },
    ]);
    connection.send({ type: "NotRenewed" });
    connection.send({ type: "Number", value: 7 });
    expect((await reader(numbers)("number")).value).toBe(7);
    expect(numbers.connection.state).toBe("live");
  });

  test("nothing is shown before a place is free, and nothing of an old connection on a new one", async () => {
    server.onConnection = () => undefined;
    const made = { count: 0 };
    const numbers = connect({ credentials: signedIn(made) });
    const next = reader(numbers);
    const first = await server.connection();
    first.send({ type: "Queued", position: 1 });
    await next("queued");
    await new Promise((done) => setTimeout(done, 150));
    expect(made.count).toBe(0);
    first.socket.terminate();
    const second = await server.connection();
    second.ready();
    await second.until(() => renewals(second).length === 1);
    expect(renewals(first)).toEqual([]);
    expect(made.count).toBe(1);
  });
});


describe("reconnecting", () => {
  test.each([
    [1001, "draining"],
    [1011, "engine"],
    [1012, "draining"],
    [1013, "full"],
  ] as const)("after close code %i", async (code, kind) => {
    const next = reader(connect());
    (await server.connection()).close(code);
    const waiting = await next("state", isWaiting);
    expect(waiting).toMatchObject({ error: { kind } });
    await next("state", isLive);
  });

  test.each([
    [1008, "policy"],
    [1009, "too-large"],
    [4403, "forbidden"],
  ] as const)("not after close code %i", async (code, kind) => {
    const next = reader(connect());
    (await server.connection()).close(code);
    expect((await next("failed")).error.kind).toBe(kind);
    expect((await next("state")).state).toBe("closed");
  });

  test("the classic message of a full server counts more than its close", async () => {
    server.onConnection = (connection) => {
      connection.send({ type: "Error", message: "no free channels" });
      connection.close(1000);
    };
    const waiting = await reader(connect())("state", isWaiting);
    expect(waiting).toMatchObject({ error: { kind: "full" } });
  });

  test("retryNow does not wait", async () => {
    const numbers = connect({ backoff: { base: 3600, cap: 3600 } });
    const next = reader(numbers);
    (await server.connection()).close(1012);
    await next("state", isWaiting);
    numbers.connection.retryNow();
    await server.connection();
    await next("state", isLive);
  });
});

describe("credentials", () => {
  const answers = (...list: Credential[]) => {
    const asked: boolean[] = [];
    const credentials = ({ refresh }: { refresh: boolean }) => {
      asked.push(refresh);
      return Promise.resolve(list[Math.min(asked.length, list.length) - 1]!);
    };
    return { asked, credentials };
  };

  test("a token goes as a subprotocol, never in the URL", async () => {
    const { credentials } = answers({ via: "token", token: "aaa.bbb.ccc" });
    await reader(connect({ credentials }))("state", isLive);
    const { request } = await server.connection();
    expect(request.headers["sec-websocket-protocol"]).toBe("moshi,bearer.aaa.bbb.ccc");
    expect(request.url).not.toContain("aaa");
  });

  test("a key is exchanged for a ticket", async () => {
    server.routes.set("POST /api/ws-ticket", (request, response) => {
      const right = request.headers["kyutai-api-key"] === "secret";
      response.writeHead(right ? 200 : 401).end(JSON.stringify({ ticket: "once", expires_in: 30 }));
    });
    connect({ credentials: answers({ via: "key", key: "secret" }).credentials });
    expect((await server.connection()).query.get("auth_id")).toBe("once");
  });

  test("a server said to have no tickets gets the key itself", async () => {
    connect({ credentials: answers({ via: "key", key: "secret", tickets: false }).credentials });
    expect((await server.connection()).query.get("auth_id")).toBe("secret");
  });

  test.each([404, 405])("a key goes into no URL because the route for tickets answers %i", async (status) => {
    const urls: string[] = [];
    server.onConnection = ({ request }) => urls.push(request.url ?? "");
    server.routes.set("POST /api/ws-ticket", (_request, response) => response.writeHead(status).end());
    const { error } = await reader(connect({ credentials: answers({ via: "key", key: "secret" }).credentials }))("failed");
    expect(error).toMatchObject({ kind: "no-tickets", retryable: false, message: expect.stringContaining("/api/ws-ticket") as unknown });
    expect(urls).toEqual([]);
  });

  test("a refused key is not sent again", async () => {
    server.routes.set("POST /api/ws-ticket", (_request, response) => response.writeHead(401).end());
    const { asked, credentials } = answers({ via: "key", key: "wrong" });
    expect((await reader(connect({ credentials }))("failed")).error.kind).toBe("unauthenticated");
    expect(asked).toEqual([false, true]);
  });

  test("4401 is answered with a fresh credential, once", async () => {
    const { asked, credentials } = answers({ via: "token", token: "old" }, { via: "token", token: "new" });
    const next = reader(connect({ credentials }));
    (await server.connection()).close(4401);
    const second = await server.connection();
    expect(second.request.headers["sec-websocket-protocol"]).toContain("bearer.new");
    second.close(4401);
    expect((await next("failed")).error.kind).toBe("unauthenticated");
    expect(asked).toEqual([false, true]);
  });

  test("a credential that can't be had ends the stream with its reason", async () => {
    const credentials = () => Promise.reject(new MoshiError("forbidden", "no"));
    expect((await reader(connect({ credentials }))("failed")).error.kind).toBe("forbidden");
  });
});

describe("a refused handshake, of which the browser tells nothing", () => {
  test("is a lost sign-in when no ticket is given", async () => {
    server.refuseUpgrade = 401;
    server.routes.set("POST /api/ws-ticket", (_request, response) => response.writeHead(401).end());
    expect((await reader(connect())("failed")).error.kind).toBe("unauthenticated");
  });

  test("is a full server when every slot is taken", async () => {
    server.refuseUpgrade = 503;
    server.usedSlots = 4;
    server.routes.set("POST /api/ws-ticket", (_request, response) => response.end('{"ticket":"once"}'));
    expect(await reader(connect())("state", isWaiting)).toMatchObject({ error: { kind: "full" } });
  });

  test("is anything else otherwise", async () => {
    server.refuseUpgrade = 500;
    expect(await reader(connect())("state", isWaiting)).toMatchObject({ error: { kind: "unreachable" } });
  });

  test("is an unreachable server when nothing answers", async () => {
    const url = server.url;
    await server.stop();
    const next = reader(connect({ url }));
    expect(await next("state", isWaiting)).toMatchObject({ error: { kind: "unreachable" } });
    server = await FakeServer.start(Number(url.port));
    await next("state", isLive);
  });
});

