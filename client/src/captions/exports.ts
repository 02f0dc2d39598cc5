/** The transcript as files: plain text, SubRip, WebVTT, JSON. */
import { type Item, phraseText, type Word } from "./transcript";

export type ExportFormat = "txt" | "srt" | "vtt" | "json";

/** Two lines of 42 characters, the usual limit for subtitles. */
const MAX_CUE_CHARACTERS = 84;
const MAX_CUE_SECONDS = 7;
/** Shortest time on screen, so that a cue can be read. */
const MIN_CUE_SECONDS = 0.8;

interface Cue {
  start: number;
  stop: number;
  text: string;
}

export function exportAs(format: ExportFormat, items: readonly Item[]): { text: string; type: string } {
  switch (format) {
    case "txt":
      return { text: toText(items), type: "text/plain" };
    case "srt":
      return { text: toSrt(items), type: "application/x-subrip" };
    case "vtt":
      return { text: toVtt(items), type: "text/vtt" };
    case "json":
      return { text: toJson(items), type: "application/json" };
  }
}

export function toText(items: readonly Item[]): string {
  return items
    .map((item) => (item.kind === "phrase" ? phraseText(item) : gapText(item.missing)))
    .map((line) => `${line}\n`)
    .join("");
}

export function toSrt(items: readonly Item[]): string {
  return cues(items)
    .map((cue, i) => `${i + 1}\n${clock(cue.start, ",")} --> ${clock(cue.stop, ",")}\n${cue.text}\n`)
    .join("\n");
}

export function toVtt(items: readonly Item[]): string {
  const escape = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const blocks = cues(items).map((cue) => `${clock(cue.start, ".")} --> ${clock(cue.stop, ".")}\n${escape(cue.text)}\n`);
  return ["WEBVTT\n", ...blocks].join("\n");
}

export function toJson(items: readonly Item[]): string {
  const list = items.map((item) =>
    item.kind === "gap"
      ? { gap: { at: item.at, missing: item.missing } }
      : { text: phraseText(item), words: item.words.map(({ text, start, stop }) => ({ text, start, stop })) },
  );
  return `${JSON.stringify(list, null, 2)}\n`;
}

export function gapText(missing: number): string {
  return missing > 0 ? `[connection lost: ${missing.toFixed(1)} s missing]` : "[connection lost and restored: nothing missing]";
}

/** Formats as `h:mm:ss`, or as `m:ss` below one hour. */
export function shortClock(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = String(s).padStart(2, "0");
  return h > 0 ? `${h}:${String(m).padStart(2, "0")}:${tail}` : `${m}:${tail}`;
}

function clock(seconds: number, point: "," | "."): string {
  const ms = Math.round(Math.max(0, seconds) * 1000);
  const two = (n: number) => String(Math.floor(n)).padStart(2, "0");
  return `${two(ms / 3_600_000)}:${two((ms / 60_000) % 60)}:${two((ms / 1000) % 60)}${point}${String(ms % 1000).padStart(3, "0")}`;
}

function cues(items: readonly Item[]): Cue[] {
  const all = items.flatMap((item) => (item.kind === "phrase" ? split(item.words) : []));
  // A cue stays on screen long enough to be read, but ends when the next one starts.
  return all.map((cue, i) => ({
    ...cue,
    stop: Math.min(Math.max(cue.stop, cue.start + MIN_CUE_SECONDS), all[i + 1]?.start ?? Infinity),
  }));
}

function split(words: readonly Word[]): Cue[] {
  const result: Cue[] = [];
  for (const word of words) {
    const cue = result.at(-1);
    const stop = word.stop ?? word.start;
    if (cue && cue.text.length + 1 + word.text.length <= MAX_CUE_CHARACTERS && stop - cue.start <= MAX_CUE_SECONDS) {
      cue.text += ` ${word.text}`;
      cue.stop = stop;
    } else {
      result.push({ start: word.start, stop, text: word.text });
    }
  }
  return result;
}
