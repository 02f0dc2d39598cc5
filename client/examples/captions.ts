/** Live captions with the client library alone. `npm run dev` shows them at http://localhost:5173/examples/captions.html. */
import { Microphone } from "../src/lib/audio/microphone";
import { bestEncoder, Transcription } from "../src/lib/moshi";

/** Writes what the microphone hears into `output`, until `stop` is aborted and the last word is there. */
export async function caption(url: URL, key: string, output: HTMLElement, stop: AbortSignal): Promise<void> {
  const transcription = new Transcription({
    url,
    credentials: () => Promise.resolve({ via: "key", key }),
    encoder: await bestEncoder(),
  });
  const microphone = await Microphone.open("", {
    onChunk: (pcm) => transcription.send(pcm),
    onEnded: () => transcription.finish(),
  }).catch((error: unknown) => {
    transcription.close();
    throw error;
  });
  stop.addEventListener("abort", () => transcription.finish(), { once: true });
  for await (const event of transcription) {
    if (event.type === "word") output.append(`${event.text} `);
    if (event.type === "failed") output.append(`[${event.error.message}]`);
  }
  microphone.close();
}
