import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { caption } from "../../examples/captions";
import { Microphone, MicrophoneError, type MicrophoneHandler } from "../../src/lib/audio/microphone";
import { FakeServer } from "../support/fake-server";

let server: FakeServer;
let output: HTMLElement;
beforeEach(async () => {
  server = await FakeServer.start();
  server.routes.set("POST /api/ws-ticket", (_request, response) => response.end('{"ticket":"once"}'));
  output = document.createElement("p");
});
afterEach(() => server.stop());

test("the example writes the words of the microphone, up to the last one", async () => {
  let handler: MicrophoneHandler | undefined;
  const close = vi.fn();
  vi.spyOn(Microphone, "open").mockImplementation((_deviceId, given) => {
    handler = given;
    return Promise.resolve({ close } as unknown as Microphone);
  });
  const stop = new AbortController();
  const captions = caption(server.url, "key", output, stop.signal);
  const connection = await server.connection();
  await vi.waitFor(() => expect(handler).toBeDefined());
  handler?.onChunk(new Float32Array(480));
  await connection.until(() => connection.samples.length === 480);
  connection.say("hello", 0, 0.4);
  await vi.waitFor(() => expect(output.textContent).toBe("hello "));
  stop.abort();
  await connection.until(() => connection.controls.some((c) => c.type === "EndOfStream"));
  connection.say("world", 0.5, 0.9);
  connection.send({ type: "EndOfStream" });
  await captions;
  expect(output.textContent).toBe("hello world ");
  expect(close).toHaveBeenCalledOnce();
});

test("the example leaves the server when it gets no microphone", async () => {
  vi.spyOn(Microphone, "open").mockRejectedValue(new MicrophoneError("refused"));
  const connected = vi.fn();
  server.onConnection = connected;
  await expect(caption(server.url, "key", output, new AbortController().signal)).rejects.toThrow("refused");
  await new Promise(setImmediate);
  expect(connected).not.toHaveBeenCalled();
});
