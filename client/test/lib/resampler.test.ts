import { expect, test } from "vitest";
import { LevelHistory, loudness } from "../../src/lib/audio/level";
import { Resampler } from "../../src/lib/audio/resampler";

const sine = (hz: number, rate: number, seconds: number) =>
  Float32Array.from({ length: Math.round(rate * seconds) }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));

const rms = (x: Float32Array) => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

test.each([48_000, 44_100, 16_000, 8000])("a tone at %i Hz stays the same tone at 24 kHz", (rate) => {
  const out = new Resampler(rate, 24_000).process(sine(1000, rate, 0.5));
  // All but what the filter still waits for.
  expect(out.length).toBeGreaterThan(12_000 - 24_000 / 200);
  expect(out.length).toBeLessThanOrEqual(12_000);
  const wanted = sine(1000, 24_000, 0.5);
  for (let i = 200; i < out.length; i += 7) expect(out[i]).toBeCloseTo(wanted[i]!, 2);
});

test("what 24 kHz can't hold is taken out, not folded back", () => {
  const out = new Resampler(48_000, 24_000).process(sine(17_000, 48_000, 0.3));
  expect(rms(out.slice(200))).toBeLessThan(0.01);
});

test("the cut into chunks makes no difference", () => {
  const input = sine(440, 44_100, 0.2);
  const whole = new Resampler(44_100, 24_000).process(input);
  const parts = new Resampler(44_100, 24_000);
  const joined: number[] = [];
  for (let at = 0; at < input.length; at += 131) joined.push(...parts.process(input.slice(at, at + 131)));
  expect(joined).toEqual([...whole]);
});

test("loudness runs from silence to full scale", () => {
  expect(loudness(new Float32Array(480))).toBe(0);
  expect(loudness(new Float32Array(480).fill(1))).toBeCloseTo(1);
  expect(loudness(new Float32Array(480).fill(0.0316))).toBeCloseTo(0.5, 2);
  expect(loudness(new Float32Array(0))).toBe(0);
});

test("the level history gives back the newest first, and nothing beyond its length", () => {
  const levels = new LevelHistory(3);
  for (const level of [0.1, 0.2, 0.3, 0.4]) levels.push(level);
  expect([0, 1, 2, 3].map((age) => levels.at(age))).toEqual([0.4, 0.3, 0.2, 0].map(Math.fround));
  expect(levels.latest).toBe(Math.fround(0.4));
  levels.clear();
  expect(levels.at(0)).toBe(0);
});
