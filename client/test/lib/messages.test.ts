import { decode } from "@msgpack/msgpack";
import { expect, test } from "vitest";
import { encodeOggOpus } from "../../src/lib/moshi/encoder";
import { readTranscriptionMessage } from "../../src/lib/moshi/transcription-messages";

const read = (text: string) => readTranscriptionMessage(JSON.parse(text));

test.each([
  { type: "Ready" },
  { type: "Queued", position: 3 },
  { type: "Step", step_idx: 7, prs: [0.1, 0.2, 0.9], buffered_pcm: 0 },
  { type: "Word", text: "hello", start_time: 1.28 },
  { type: "EndWord", stop_time: 1.6 },
  { type: "Marker", id: 0 },
  { type: "Draining", deadline_s: 30 },
  { type: "Renewed", valid_s: 60 },
  { type: "NotRenewed" },
  { type: "EndOfStream" },
  { type: "Error", message: "no free channels" },
])("reads $type", (message) => {
  expect(read(JSON.stringify(message))).toEqual(message);
});

test("ignores types of a newer server", () => {
  expect(read('{"type":"Speaker","id":2}')).toBeNull();
  expect(read('{"type":"toString"}')).toBeNull();
});

test.each(['{"type":"Word","text":"x"}', '{"type":7}', '{"type":"Step","step_idx":1,"prs":["a"],"buffered_pcm":0}', '"Ready"', "[]", "{"])(
  "refuses %s",
  (text) => {
    expect(() => read(text)).toThrow();
  },
);

test("packs Ogg pages as MessagePack bin", () => {
  const pages = Uint8Array.of(1, 200, 255);
  const packed = encodeOggOpus(pages);
  expect(decode(packed)).toEqual({ type: "OggOpus", data: pages });
  // bin 8, not an array of integers.
  expect([...packed.slice(-5)]).toEqual([0xc4, 3, 1, 200, 255]);
});
