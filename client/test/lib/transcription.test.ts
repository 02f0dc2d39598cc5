import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type EncoderFactory, pcm16Encoder, Transcription, type TranscriptionOptions } from "../../src/lib/moshi";
import { isLive, isWaiting, reader } from "../support/events";
import { FakeServer } from "../support/fake-server";

let server: FakeServer;
let open: Transcription[] = [];

beforeEach(async () => {
  server = await FakeServer.start();
});
afterEach(async () => {
  for (const stream of open) stream.close();
  open = [];
  await server.stop();
});

function connect(options: Partial<TranscriptionOptions> = {}): Transcription {
  const stream = new Transcription({
    url: server.url,
    credentials: () => Promise.resolve({ via: "cookie" }),
    encoder: pcm16Encoder,
    backoff: { base: 0.01, cap: 0.05 },
    ...options,
  });
  open.push(stream);
  return stream;
}

/** `seconds` of a constant, as 20 ms chunks. */
function speak(stream: Transcription, seconds: number, value: number): void {
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
    await next("state", isLive);
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
    await next("state", isLive);
    speak(stream, 0.02, 9);
    await connection.until(() => connection.frames.length === 3);
    expect(connection.samples).toEqual([...Array<number>(960).fill(7), ...Array<number>(480).fill(9)]);
  });

  test("a marker each second confirms what was sent", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    await next("state", isLive);
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
    await next("state", isLive);
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

  test("finishing ends the stream when the encoder fails meanwhile", async () => {
    let fail: (error: Error) => void = () => undefined;
    const encoder: EncoderFactory = (sink, onError) => ({
      ...pcm16Encoder(sink, onError),
      flush: () => new Promise((_, reject) => (fail = reject)),
    });
    const stream = connect({ encoder });
    const next = reader(stream);
    const connection = await server.connection();
    await next("state", isLive);
    stream.finish();
    connection.close(1011);
    expect((await next("failed")).error.kind).toBe("engine");
    fail(new Error("closed"));
    await connection.closed;
  });

  test("a row that is reset while finishing does not start the stream again", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    await next("state", isLive);
    stream.finish();
    connection.ready();
    connection.send({ type: "EndOfStream" });
    expect((await next("state")).state).toBe("finishing");
    expect((await next("state")).state).toBe("closed");
  });

  test("finishing without a connection ends at once", async () => {
    server.onConnection = () => undefined;
    const stream = connect();
    const connection = await server.connection();
    stream.finish();
    expect(stream.state).toBe("closed");
    await connection.closed;
  });

  test("unknown messages are ignored, garbage ends the stream", async () => {
    const stream = connect();
    const next = reader(stream);
    const connection = await server.connection();
    connection.send({ type: "Speaker", id: 1 });
    connection.socket.send("not json");
    const { error } = await next("failed");
    expect(error).toMatchObject({ kind: "protocol" });
  });
});

describe("reconnecting", () => {
  test("goes on with the audio that was not confirmed", async () => {
    const stream = connect();
    const next = reader(stream);
    const first = await server.connection();
    await next("state", isLive);
    speak(stream, 1, 1);
    await next("confirmed");
    speak(stream, 0.1, 2);
    await first.until(() => first.samples.length === 26_400);
    first.socket.terminate();
    await next("state", isWaiting);
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
    await next("state", isLive);
    first.echoMarkers = false;
    server.onConnection = () => undefined;
    first.close(1012);
    await next("state", isWaiting);
    speak(stream, 3, 1);
    const second = await server.connection();
    second.ready();
    expect(await next("resumed")).toEqual({ type: "resumed", from: 2, missing: 2 });
    await second.until(() => second.samples.length === 24_000);
  });

  test("a server that ends the stream by itself, because it stops, is waited for", async () => {
    const next = reader(connect());
    const first = await server.connection();
    await next("state", isLive);
    first.send({ type: "Draining", deadline_s: 3 });
    first.send({ type: "EndOfStream" });
    first.close(1012);
    expect(await next("state", isWaiting)).toMatchObject({ error: { kind: "draining" } });
    await next("state", isLive);
  });

  test("a server that stops answering is left", async () => {
    const stream = connect({ stallSeconds: 0.05 });
    const next = reader(stream);
    const first = await server.connection();
    first.echoMarkers = false;
    await next("state", isLive);
    speak(stream, 1, 1);
    expect(await next("state", isWaiting)).toMatchObject({ error: { kind: "unreachable" } });
    await server.connection();
  });
});
