import { decode } from "@msgpack/msgpack";
import { expect, test } from "vitest";
import { encodeOggOpus, parseServerMessage } from "../../src/lib/moshi/messages";

test.each([
  { type: "Ready" },
  { type: "Queued", position: 3 },
  { type: "Step", step_idx: 7, prs: [0.1, 0.2, 0.9], buffered_pcm: 0 },
  { type: "Word", text: "hello", start_time: 1.28 },
  { type: "EndWord", stop_time: 1.6 },
  { type: "Marker", id: 0 },
  { type: "Draining", deadline_s: 30 },
  { type: "Flushed" },
  { type: "EndOfStream" },
  { type: "Error", message: "no free channels" },
])("reads $type", (message) => {
  expect(parseServerMessage(JSON.stringify(message))).toEqual(message);
});

test("passes over types of a newer server", () => {
  expect(parseServerMessage('{"type":"Speaker","id":2}')).toBeNull();
  expect(parseServerMessage('{"type":"toString"}')).toBeNull();
});

test.each(['{"type":"Word","text":"x"}', '{"type":"Step","step_idx":1,"prs":["a"],"buffered_pcm":0}', '"Ready"', "[]", "{"])(
  "refuses %s",
  (text) => {
    expect(() => parseServerMessage(text)).toThrow();
  },
);

test("packs Ogg pages as MessagePack bin", () => {
  const pages = Uint8Array.of(1, 200, 255);
  const packed = encodeOggOpus(pages);
  expect(decode(packed)).toEqual({ type: "OggOpus", data: pages });
  // bin 8, not an array of integers.
  expect([...packed.slice(-5)]).toEqual([0xc4, 3, 1, 200, 255]);
});
