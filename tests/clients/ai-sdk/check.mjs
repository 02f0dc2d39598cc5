// The AI SDK: a file through its OpenAI provider, with the segments that it insists on.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { experimental_transcribe as transcribe } from "ai";

const { MOSHI_URL: url, MOSHI_KEY: apiKey, MOSHI_AUDIO: audio, MOSHI_WORDS: words } = process.env;
const expected = readFileSync(words, "utf8").trim().split(/\s+/);

const openai = createOpenAI({ apiKey, baseURL: `${url}/v1` });
for (const model of ["whisper-1", "gpt-4o-mini-transcribe"]) {
  const options = { openai: { timestampGranularities: ["segment"] } };
  const answer = await transcribe({
    model: openai.transcription(model),
    audio: readFileSync(audio),
    providerOptions: model === "whisper-1" ? options : {},
  });
  const said = new Set(answer.text.toLowerCase().split(/\s+/));
  assert(expected.filter((word) => said.has(word)).length > 0.8 * expected.length, answer.text);
  if (model === "whisper-1") assert(answer.segments.length > 0);
}
console.log("ai (npm): passed");
