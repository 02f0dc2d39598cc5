// Deepgram's npm package, version 4: a file and live audio.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createClient, LiveTranscriptionEvents } from "@deepgram/sdk";

const { MOSHI_URL: url, MOSHI_KEY: key, MOSHI_AUDIO: audio, MOSHI_WORDS: words } = process.env;
const expected = readFileSync(words, "utf8").trim().split(/\s+/);

/** Nearly all words are there, in any order. */
function right(text) {
  const said = new Set(text.toLowerCase().split(/[^a-z']+/));
  return expected.filter((word) => said.has(word)).length > 0.8 * expected.length;
}

const options = { global: { fetch: { options: { url } }, websocket: { options: { url: url.replace("http", "ws") } } } };
const deepgram = createClient(key, options);
const file = readFileSync(audio);

const { result, error } = await deepgram.listen.prerecorded.transcribeFile(file, { model: "nova-3", smart_format: true });
assert.equal(error, null);
assert.ok(right(result.results.channels[0].alternatives[0].transcript));

const rate = file.readUInt32LE(24);
const pcm = file.subarray(44);
const live = deepgram.listen.live({
  model: "nova-3",
  encoding: "linear16",
  sample_rate: rate,
  interim_results: true,
  vad_events: true,
  utterance_end_ms: 1000,
  endpointing: 300,
});
const finals = [];
const wrong = [];
let last;
live.on(LiveTranscriptionEvents.Transcript, (message) => {
  if (message.is_final) finals.push(message.channel.alternatives[0].transcript);
});
live.on(LiveTranscriptionEvents.Error, (error) => wrong.push(error));
live.on(LiveTranscriptionEvents.Unhandled, (message) => wrong.push(message));
live.on(LiveTranscriptionEvents.Metadata, (message) => (last = message));
await new Promise((resolve) => live.on(LiveTranscriptionEvents.Open, resolve));
const closed = new Promise((resolve) => live.on(LiveTranscriptionEvents.Close, resolve));
live.keepAlive();
for (let at = 0; at < pcm.length; at += 4800) live.send(Uint8Array.from(pcm.subarray(at, at + 4800)));
live.send(new Uint8Array(4 * rate));
live.finalize();
live.requestClose();
await closed;
assert.deepEqual(wrong, []);
assert.ok(right(finals.join(" ")), finals.join(" "));
assert.equal(last.channels, 1);
process.exit(0);
