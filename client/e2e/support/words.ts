/** What was said against what was heard; nothing here depends on the weights of the bundled checkpoint. */
import { expect } from "vitest";

/** Words alone: without case, punctuation, or the lines they stand in. */
export const plain = (text: string) => text.toLowerCase().replace(/[^a-z' ]+/g, " ").split(/\s+/).filter(Boolean);

/** How many of `wanted` come in `heard`, in order. */
export function inOrder(wanted: string[], heard: string[]): number {
  const best = Array.from({ length: wanted.length + 1 }, () => new Array<number>(heard.length + 1).fill(0));
  for (let i = 1; i <= wanted.length; i++) {
    for (let j = 1; j <= heard.length; j++) {
      best[i]![j] = wanted[i - 1] === heard[j - 1] ? best[i - 1]![j - 1]! + 1 : Math.max(best[i - 1]![j]!, best[i]![j - 1]!);
    }
  }
  return best[wanted.length]![heard.length]!;
}

/** A recording: what is said in it, and what the checkpoint makes of the file itself. */
export interface Recording {
  wav: string;
  spoken: string[];
  engine: string[];
}

/** A microphone is no file: a browser's echo canceller and Opus may cost a few words that the file would not. */
const LOST_ON_THE_WAY = 0.15;

/** Fails unless `heard` is nearly as right as the checkpoint is on the file. */
export function expectWords(heard: string[], { spoken, engine }: Recording): void {
  const fewest = inOrder(spoken, engine) - Math.ceil(LOST_ON_THE_WAY * spoken.length);
  expect(fewest, "the checkpoint hears enough for a comparison").toBeGreaterThan(0.4 * spoken.length);
  const right = inOrder(spoken, heard);
  expect({ heard, spoken, right }).toEqual({ heard, spoken, right: expect.toSatisfy((n: number) => n >= fewest, `>= ${fewest}`) as unknown });
  expect(heard.length).toBeLessThan(1.5 * spoken.length);
}
