import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Credential, MoshiError, MoshiStream, pcm16Encoder, type StreamEvent, type StreamOptions } from "../../src/lib/moshi";
import { type FakeConnection, FakeServer } from "../support/fake-server";

let server: FakeServer;
let open: MoshiStream[] = [];

beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(async () => {
  for (const stream of open) stream.close();
  open = [];
  await server.stop();
});

function connect(options: Partial<StreamOptions> = {}): MoshiStream {
  const stream = new MoshiStream({
    url: server.url,
    credentials: () => Promise.resolve({ via: "cookie" }),
    encoder: pcm16Encoder,
    backoff: { base: 0.01, cap: 0.05 },
    ...options,
  });
  open.push(stream);
  return stream;
}

/** Reads until an event fits; what came before it is dropped. */
function reader(stream: MoshiStream) {
  const events = stream[Symbol.asyncIterator]();
  return async <T extends StreamEvent["type"]>(type: T, fits: (event: Extract<StreamEvent, { type: T }>) => boolean = () => true) => {
    for (;;) {
      const { value, done } = await events.next();
      if (done) throw new Error(`the stream ended before ${type}`);
      if (value.type === type && fits(value as Extract<StreamEvent, { type: T }>)) return value as Extract<StreamEvent, { type: T }>;
    }
  };
}

const live = (event: { state: string }) => event.state === "live";

/** `seconds` of a constant, as 20 ms chunks. */
function speak(stream: MoshiStream, seconds: number, value: number): void {
  for (let i = 0; i < Math.round(seconds * 50); i++) stream.send(new Float32Array(480).fill(value / 32767));
}

describe("a connection", () => {
  test("asks for JSON, readable closes and raw PCM", async () => {
    connect();
    const { query, request } = await server.connection();
    expect(Object.fromEntries(query)).toEqual({ format: "json", auth_close: "1", input: "pcm16", rate: "24000" });
    expect(request.headers["sec-websocket-protocol"]).toBeUndefined();
  });

  test("words come with their times, steps with the audio they heard", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    await next("state", live);
    connection.say("hello", 0.48, 0.8);
    connection.send({ type: "Step", step_idx: 900, prs: [0.9], buffered_pcm: 0 });
    connection.send({ type: "Step", step_idx: 901, prs: [0.1], buffered_pcm: 0 });
    expect(await next("word")).toEqual({ type: "word", text: "hello", start: 0.48 });
    expect(await next("wordEnd")).toEqual({ type: "wordEnd", stop: 0.8 });
    expect(await next("step")).toEqual({ type: "step", time: 0.08, pauses: [0.9] });
    expect((await next("step")).time).toBeCloseTo(0.16);
  });

  test("audio waits for Ready, then goes whole and in order", async () => {
    server.onConnection = () => undefined;
    const stream = connect();
    const connection = await server.connection();
    speak(stream, 0.04, 7);
    connection.send({ type: "Queued", position: 2 });
    const next = reader(stream);
    expect(await next("queued")).toEqual({ type: "queued", position: 2 });
    expect(stream.state).toBe("queued");
    expect(connection.frames).toEqual([]);
    connection.ready();
    await next("state", live);
    speak(stream, 0.02, 9);
    await connection.until(() => connection.frames.length === 3);
    expect(connection.samples).toEqual([...Array<number>(960).fill(7), ...Array<number>(480).fill(9)]);
  });

  test("a marker each second confirms what was sent", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    await next("state", live);
    speak(stream, 2.5, 1);
    expect((await next("confirmed")).time).toBe(1);
    const second = await next("confirmed");
    expect(second.time).toBe(2);
    expect(second.seconds).toBeGreaterThanOrEqual(0);
    expect(connection.controls).toEqual([
      { type: "Marker", id: 0 },
      { type: "Marker", id: 1 },
    ]);
  });

  test("finishing brings the last words, then ends", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    await next("state", live);
    speak(stream, 0.1, 1);
    stream.finish();
    await connection.until(() => connection.controls.some((c) => c.type === "EndOfStream"));
    expect(connection.samples.length).toBe(2400);
    connection.say("tail", 0, 0.1);
    connection.send({ type: "EndOfStream" });
    connection.close(1000);
    expect((await next("word")).text).toBe("tail");
    expect((await next("state")).state).toBe("closed");
    await expect(next("state")).rejects.toThrow("ended");
  });

  test("finishing without a connection ends at once", async () => {
    server.onConnection = () => undefined;
    const stream = connect();
    const connection = await server.connection();
    stream.finish();
    expect(stream.state).toBe("closed");
    await connection.closed;
  });

  test("unknown messages are passed over, garbage ends the stream", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    connection.send({ type: "Speaker", id: 1 });
    connection.socket.send("not json");
    const { error } = await next("failed");
    expect(error).toMatchObject({ kind: "protocol" });
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
    const stream = connect({ credentials: signedIn({ count: 0 }) });
    const connection = await server.connection();
    await connection.until(() => renewals(connection).length === 1);
    connection.send({ type: "Renewed", valid_s: 0.1 });
    await connection.until(() => renewals(connection).length === 2);
    expect(renewals(connection)).toEqual([
      { type: "Renew", token: "newer 1" },
      { type: "Renew", token: "newer 2" },
    ]);
    connection.send({ type: "NotRenewed" });
    connection.say("still", 0, 0.1);
    expect((await reader(stream)("word")).text).toBe("still");
    expect(stream.state).toBe("live");
  });

  test("nothing is shown before a place is free, and nothing of an old connection on a new one", async () => {
    server.onConnection = () => undefined;
    const made = { count: 0 };
    const stream = connect({ credentials: signedIn(made) });
    const next = reader(stream);
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
  test("goes on with the audio that was not confirmed", async () => {
    const stream = connect();
    const next = reader(stream);
    const first = await server.connection();
    await next("state", live);
    speak(stream, 1, 1);
    await next("confirmed");
    speak(stream, 0.1, 2);
    await first.until(() => first.samples.length === 26_400);
    first.socket.terminate();
    await next("state", (e) => e.state === "waiting");
    speak(stream, 0.1, 3);
    const second = await server.connection();
    expect(await next("resumed")).toEqual({ type: "resumed", from: 1, missing: 0 });
    await second.until(() => second.samples.length === 4800);
    expect(second.samples).toEqual([...Array<number>(2400).fill(2), ...Array<number>(2400).fill(3)]);
    second.say("again", 0.02, 0.1);
    expect((await next("word")).start).toBeCloseTo(1.02);
  });

  test("says how much was lost when the outage was longer than the memory", async () => {
    const stream = connect({ replaySeconds: 1 });
    const next = reader(stream);
    const first = await server.connection();
    await next("state", live);
    first.echoMarkers = false;
    server.onConnection = () => undefined;
    first.close(1012);
    await next("state", (e) => e.state === "waiting");
    speak(stream, 3, 1);
    const second = await server.connection();
    second.ready();
    expect(await next("resumed")).toEqual({ type: "resumed", from: 2, missing: 2 });
    await second.until(() => second.samples.length === 24_000);
  });

  test.each([
    [1001, "draining"],
    [1011, "engine"],
    [1012, "draining"],
    [1013, "full"],
  ] as const)("after close code %i", async (code, kind) => {
    const next = reader(connect());
    (await server.connection()).close(code);
    const waiting = await next("state", (e) => e.state === "waiting");
    expect(waiting).toMatchObject({ error: { kind } });
    await next("state", live);
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

  test("a server that ends the stream by itself, because it stops, is waited for", async () => {
    const next = reader(connect());
    const first = await server.connection();
    await next("state", live);
    first.send({ type: "Draining", deadline_s: 3 });
    first.send({ type: "EndOfStream" });
    first.close(1012);
    expect(await next("state", (e) => e.state === "waiting")).toMatchObject({ error: { kind: "draining" } });
    await next("state", live);
  });

  test("the classic message of a full server counts more than its close", async () => {
    server.onConnection = (connection) => {
      connection.send({ type: "Error", message: "no free channels" });
      connection.close(1000);
    };
    const waiting = await reader(connect())("state", (e) => e.state === "waiting");
    expect(waiting).toMatchObject({ error: { kind: "full" } });
  });

  test("a server that stops answering is left", async () => {
    const stream = connect({ stallSeconds: 0.05 });
    const next = reader(stream);
    const first = await server.connection();
    first.echoMarkers = false;
    await next("state", live);
    speak(stream, 1, 1);
    expect(await next("state", (e) => e.state === "waiting")).toMatchObject({ error: { kind: "unreachable" } });
    await server.connection();
  });

  test("retryNow does not wait", async () => {
    const stream = connect({ backoff: { base: 3600, cap: 3600 } });
    const next = reader(stream);
    (await server.connection()).close(1012);
    await next("state", (e) => e.state === "waiting");
    stream.retryNow();
    await server.connection();
    await next("resumed");
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
    await reader(connect({ credentials }))("state", live);
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
    expect(error).toMatchObject({ kind: "no-tickets", retryable: false, message: expect.stringContaining("/api/ws-ticket") });
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
    expect(await reader(connect())("state", (e) => e.state === "waiting")).toMatchObject({ error: { kind: "full" } });
  });

  test("is anything else otherwise", async () => {
    server.refuseUpgrade = 500;
    expect(await reader(connect())("state", (e) => e.state === "waiting")).toMatchObject({ error: { kind: "unreachable" } });
  });

  test("is an unreachable server when nothing answers", async () => {
    const url = server.url;
    await server.stop();
    const next = reader(connect({ url }));
    expect(await next("state", (e) => e.state === "waiting")).toMatchObject({ error: { kind: "unreachable" } });
    server = await FakeServer.start(Number(url.port));
    await next("state", live);
  });
});
