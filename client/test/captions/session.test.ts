import { afterEach, beforeEach, describe, expect, type MockInstance, test, vi } from "vitest";
import { CaptionSession, type SessionView } from "../../src/captions/session";
import { phraseText } from "../../src/captions/transcript";
import { Microphone, MicrophoneError, type MicrophoneHandler } from "../../src/lib/audio/microphone";
import { FakeServer } from "../support/fake-server";

/** Microphones that were opened, newest last. */
let opened: { deviceId: string; handler: MicrophoneHandler; closed: boolean; muted: boolean }[] = [];
let openMicrophone: MockInstance<typeof Microphone.open>;
let server: FakeServer;
let session: CaptionSession;

beforeEach(async () => {
  opened = [];
  openMicrophone = vi.spyOn(Microphone, "open").mockImplementation((deviceId, handler) => {
    const record = { deviceId, handler, closed: false, muted: false };
    opened.push(record);
    const microphone = {
      close: () => (record.closed = true),
      set muted(muted: boolean) {
        record.muted = muted;
      },
    };
    return Promise.resolve(microphone as unknown as Microphone);
  });
  server = await FakeServer.start();
  session = new CaptionSession(server.url, () => Promise.resolve({ via: "cookie" }));
});
afterEach(async () => {
  session.dispose();
  await server.stop();
});

function until(fits: (view: SessionView) => boolean): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (!fits(session.view)) return;
      stop();
      resolve();
    };
    const stop = session.subscribe(check);
    check();
  });
}

const text = () => session.transcript.items.map((item) => (item.kind === "phrase" ? phraseText(item) : "--"));
const hear = (seconds: number) => {
  for (let i = 0; i < seconds * 50; i++) opened.at(-1)?.handler.onChunk(new Float32Array(480).fill(0.1));
};

describe("a recording", () => {
  test("runs from the microphone to words, and ends with the last of them", async () => {
    void session.start();
    const connection = await server.connection();
    await until((view) => view.connection === "live");
    hear(1);
    await until((view) => view.delay !== null);
    expect(session.levels.latest).toBeGreaterThan(0);
    connection.say("hello", 0.1, 0.4);
    session.stop();
    expect(opened[0]?.closed).toBe(true);
    await connection.until(() => connection.controls.some((c) => c.type === "EndOfStream"));
    connection.say("world", 0.5, 0.9);
    connection.send({ type: "EndOfStream" });
    await until((view) => view.phase === "idle");
    expect(text()).toEqual(["hello world"]);
    expect(session.view).toMatchObject({ delay: null, problem: null });
  });

  test("a second one goes on where the first ended", async () => {
    for (const word of ["one", "two"]) {
      void session.start();
      const connection = await server.connection();
      await until((view) => view.connection === "live");
      hear(2);
      await connection.until(() => connection.samples.length === 48_000);
      connection.say(word, 0.5, 0.8);
      session.stop();
      connection.send({ type: "EndOfStream" });
      await until((view) => view.phase === "idle");
    }
    expect(session.transcript.items).toMatchObject([{ words: [{ start: 0.5 }] }, { words: [{ start: 2.5 }] }]);
  });

  test("shows its place in the queue", async () => {
    server.onConnection = (connection) => connection.send({ type: "Queued", position: 3 });
    void session.start();
    const connection = await server.connection();
    await until((view) => view.queuePosition === 3);
    expect(session.view.connection).toBe("queued");
    connection.ready();
    await until((view) => view.connection === "live");
    expect(session.view.queuePosition).toBeNull();
  });

  test("says why it waits, and forgets it once connected", async () => {
    void session.start();
    const first = await server.connection();
    await until((view) => view.connection === "live");
    first.send({ type: "Draining", deadline_s: 5 });
    await until((view) => view.draining);
    first.close(1012);
    await until((view) => view.connection === "waiting");
    expect(session.view.problem?.title).toBe("The server is restarting");
    expect(session.view.retryAt).not.toBeNull();
    session.retryNow();
    await server.connection();
    await until((view) => view.connection === "live");
    expect(session.view).toMatchObject({ problem: null, draining: false, retryAt: null });
    await vi.waitFor(() => expect(text()).toEqual(["--"]));
  });

  test("closes the microphone when the server sends it away", async () => {
    void session.start();
    const connection = await server.connection();
    await until((view) => view.connection === "live");
    connection.close(4403);
    await until((view) => view.phase === "idle");
    expect(session.view.problem?.title).toBe("Not allowed");
    expect(opened[0]?.closed).toBe(true);
  });
});

describe("the microphone", () => {
  test.each([
    ["insecure", "The microphone needs a secure page"],
    ["refused", "The microphone is blocked"],
    ["missing", "No microphone found"],
    ["busy", "The microphone can’t be opened"],
  ] as const)("that is %s stops the start before any connection", async (kind, title) => {
    openMicrophone.mockRejectedValueOnce(new MicrophoneError(kind));
    const connected = vi.fn();
    server.onConnection = connected;
    await session.start();
    expect(session.view).toMatchObject({ phase: "idle", problem: { title } });
    expect(connected).not.toHaveBeenCalled();
  });

  test("can be tested without a server", async () => {
    await session.toggleCheck();
    hear(0.1);
    expect(session.view.phase).toBe("checking");
    expect(session.levels.latest).toBeGreaterThan(0);
    await session.toggleCheck();
    expect(session.view.phase).toBe("idle");
    expect(opened[0]?.closed).toBe(true);
  });

  test("that is unplugged is followed by the default one, on the same connection", async () => {
    void session.start();
    const connection = await server.connection();
    await until((view) => view.connection === "live");
    opened[0]?.handler.onEnded();
    await until((view) => view.notice !== null && opened.length === 2);
    expect(opened[1]).toMatchObject({ deviceId: "", closed: false });
    await vi.waitFor(() => hear(0.02));
    await connection.until(() => connection.samples.length > 0);
    expect(session.view.phase).toBe("running");
  });

  test("is changed in the middle, and stays muted", async () => {
    void session.start();
    await until((view) => view.connection === "live");
    session.setMuted(true);
    expect(opened[0]?.muted).toBe(true);
    await session.chooseDevice("usb");
    expect(opened[0]?.closed).toBe(true);
    expect(opened[1]).toMatchObject({ deviceId: "usb", muted: true });
  });

  test("opened too late, after a stop, is closed again", async () => {
    const starting = session.start();
    session.stop();
    await starting;
    expect(session.view.phase).toBe("idle");
    expect(opened[0]?.closed).toBe(true);
  });
});

test("a transcribed file takes the place of what was there", () => {
  session.transcript.addWord("old", 0);
  session.showRecording([
    { text: "new", start: 0.2, stop: 0.5 },
    { text: "words", start: 0.6, stop: null },
  ]);
  expect(text()).toEqual(["new words"]);
  expect(session.transcript.items).toMatchObject([{ finished: true }]);
});
