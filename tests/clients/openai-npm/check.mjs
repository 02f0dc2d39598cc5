// OpenAI's npm package: models, files in every form of answer, streamed, refused; live audio by turns.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createReadStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const { MOSHI_URL: url, MOSHI_KEY: apiKey, MOSHI_AUDIO: audio, MOSHI_WORDS: words } = process.env;
const expected = readFileSync(words, "utf8").trim().split(/\s+/);

/** Nearly all words are there. */
function right(text) {
  const said = new Set(text.toLowerCase().replace(/[^a-z' ]/g, "").split(" "));
  return expected.filter((word) => said.has(word)).length > 0.8 * expected.length;
}

async function files() {
  const client = new OpenAI({ apiKey, baseURL: `${url}/v1`, maxRetries: 0 });
  const create = (asked = {}) =>
    client.audio.transcriptions.create({ file: createReadStream(audio), model: "whisper-1", ...asked });
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.deepEqual(ids, ["asr", "whisper-1"]);
  assert(right((await create()).text));
  assert(right(await create({ response_format: "text" })));
  assert.match(await create({ response_format: "srt" }), /^1\n00:00:0/);
  assert.match(await create({ response_format: "vtt" }), /^WEBVTT\n/);
  const verbose = await create({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] });
  assert(right(verbose.words.map((word) => word.word).join(" ")));
  assert(right(verbose.segments.map((segment) => segment.text).join(" ")));
  let deltas = "";
  let done;
  for await (const event of await create({ stream: true })) {
    if (event.type === "transcript.text.delta") deltas += event.delta;
    else done = event.text;
  }
  assert.equal(deltas, done);
  assert(right(done));
  const stranger = new OpenAI({ apiKey: "wrong", baseURL: `${url}/v1`, maxRetries: 0 });
  await assert.rejects(
    stranger.models.retrieve("asr"),
    (error) => error instanceof OpenAI.AuthenticationError && error.code === "invalid_api_key",
  );
  await assert.rejects(create({ response_format: "diarized_json" }), OpenAI.BadRequestError);
}

/** The package speaks to `wss:` alone. */
function terminator(folder) {
  const read = (name) => readFileSync(join(folder, name));
  const server = tls.createServer({ key: read("key.pem"), cert: read("cert.pem") }, (socket) => {
    const { hostname, port } = new URL(url);
    const inner = net.connect(Number(port), hostname);
    socket.pipe(inner).pipe(socket);
    for (const end of [socket, inner]) end.on("error", () => (socket.destroy(), inner.destroy()));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

function turns(socket) {
  const pcm = Buffer.concat([readFileSync(audio).subarray(44), Buffer.alloc(144_000)]);
  const said = [];
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("session.created", () =>
      socket.send({
        type: "session.update",
        session: { type: "transcription", audio: { input: { turn_detection: { type: "server_vad" } } } },
      }),
    );
    socket.on("session.updated", () => {
      for (let at = 0; at < pcm.length; at += 4800) {
        const piece = pcm.subarray(at, at + 4800).toString("base64");
        socket.send({ type: "input_audio_buffer.append", audio: piece });
      }
    });
    socket.on("conversation.item.input_audio_transcription.completed", (event) => {
      said.push(event.transcript);
      if (right(said.join(" "))) resolve();
    });
  });
}

async function live(folder) {
  const server = await terminator(folder);
  const client = new OpenAI({ apiKey, baseURL: `https://localhost:${server.address().port}/v1` });
  const socket = new OpenAIRealtimeWS({ model: "whisper-1" }, client);
  await turns(socket);
  socket.close();
  server.close();
}

const folder = process.env.MOSHI_CERTIFICATE;
if (folder) {
  await live(folder);
} else {
  await files();
  // Node reads its certificates when it starts.
  const made = mkdtempSync(join(tmpdir(), "moshi-certificate-"));
  try {
    const at = (name) => join(made, name);
    execFileSync("openssl", [
      ..."req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost".split(" "),
      ...["-keyout", at("key.pem"), "-out", at("cert.pem")],
    ], { stdio: "ignore" });
    const env = { ...process.env, MOSHI_CERTIFICATE: made, NODE_EXTRA_CA_CERTS: at("cert.pem") };
    const ran = spawnSync(process.execPath, [fileURLToPath(import.meta.url)], { env, stdio: "inherit", timeout: 180_000 });
    assert.equal(ran.status, 0);
  } finally {
    rmSync(made, { recursive: true });
  }
  console.log("openai (npm): passed");
}
