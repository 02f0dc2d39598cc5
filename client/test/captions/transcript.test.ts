import { beforeEach, describe, expect, test } from "vitest";
import { toJson, toSrt, toText, toVtt, shortClock } from "../../src/captions/exports";
import { phraseText, Transcript } from "../../src/captions/transcript";

let transcript: Transcript;
beforeEach(() => {
  transcript = new Transcript();
});

/** Words of 0.3 s, one every half second. */
function say(text: string, from: number): void {
  text.split(" ").forEach((word, i) => {
    transcript.addWord(word, from + i * 0.5);
    transcript.endWord(from + i * 0.5 + 0.3);
  });
}

const shape = () =>
  transcript.items.map((item) => (item.kind === "gap" ? `-- ${item.missing}` : `${phraseText(item)}${item.finished ? "" : " …"}`));

describe("words", () => {
  test("are pending till their end is heard", () => {
    transcript.addWord("hello", 1);
    expect(transcript.items).toMatchObject([{ finished: false, words: [{ text: "hello", start: 1, stop: null }] }]);
    transcript.endWord(1.4);
    expect(transcript.items).toMatchObject([{ words: [{ stop: 1.4 }] }]);
  });

  test("without an end get the next word's start", () => {
    transcript.addWord("hello", 1);
    transcript.addWord("world", 1.5);
    expect(transcript.items).toMatchObject([{ words: [{ stop: 1.5 }, { stop: null }] }]);
  });

  test("unchanged phrases stay the same objects", () => {
    say("one two", 0);
    say("three", 5);
    const [first] = transcript.items;
    say("four", 5.6);
    expect(transcript.items[0]).toBe(first);
    expect(transcript.items[1]).not.toBe(undefined);
  });

  test("listeners hear of each change", () => {
    let heard = 0;
    const stop = transcript.subscribe(() => (heard += 1));
    say("one", 0);
    expect(heard).toBe(2);
    stop();
    say("two", 1);
    expect(heard).toBe(2);
  });
});

describe("a phrase ends", () => {
  test("at a long silence between words", () => {
    say("one two", 0);
    say("three", 3);
    expect(shape()).toEqual(["one two", "three …"]);
  });

  test("after a sentence that is long enough", () => {
    say("Yes. This is a whole sentence.", 0);
    say("And more", 3);
    expect(shape()).toEqual(["Yes. This is a whole sentence.", "And more …"]);
  });

  test("when it grows too long", () => {
    say(Array(41).fill("so").join(" "), 0);
    expect(transcript.items.map((item) => item.kind === "phrase" && item.words.length)).toEqual([40, 1]);
  });

  test("at a pause, with the words that were spoken before it", () => {
    say("one", 0);
    transcript.step(0.6, [0, 0, 0.9]);
    expect(transcript.pausing).toBe(true);
    transcript.addWord("two", 0.5);
    expect(shape()).toEqual(["one two …"]);
    transcript.step(2.2, [0, 0, 0.9]);
    expect(shape()).toEqual(["one two"]);
  });

  test("at a pause when the next word comes from after it", () => {
    say("one", 0);
    transcript.step(0.6, [0, 0, 0.9]);
    transcript.step(0.7, [0, 0, 0.1]);
    transcript.addWord("two", 0.8);
    expect(shape()).toEqual(["one", "two …"]);
    expect(transcript.pausing).toBe(false);
  });

  test("not at a doubtful pause, nor without pause heads", () => {
    say("one", 0);
    for (let t = 0; t < 3; t += 0.08) transcript.step(t, [0.9, 0.9, 0.5]);
    for (let t = 3; t < 6; t += 0.08) transcript.step(t, []);
    expect(shape()).toEqual(["one …"]);
  });

  test("when nothing more was said for long", () => {
    say("one", 0);
    transcript.confirm(2);
    expect(shape()).toEqual(["one …"]);
    transcript.confirm(4);
    expect(shape()).toEqual(["one"]);
  });

  test("with the session", () => {
    transcript.addWord("one", 0);
    transcript.finish();
    expect(transcript.items).toMatchObject([{ finished: true, words: [{ stop: 0 }] }]);
  });
});

describe("after a reconnect", () => {
  test("words that will come again are dropped, and the cut is marked", () => {
    say("one two three", 0);
    transcript.resume(0.9, 0);
    expect(shape()).toEqual(["one two", "-- 0"]);
    say("three", 1);
    expect(shape()).toEqual(["one two", "-- 0", "three …"]);
  });

  test("a phrase of which nothing is left goes", () => {
    say("one", 5);
    transcript.resume(2, 1.5);
    expect(shape()).toEqual(["-- 1.5"]);
  });
});

describe("exports", () => {
  beforeEach(() => {
    say("Hello <you> & me", 1);
    transcript.resume(10, 2.25);
    transcript.addWord("Bye", 3661.5);
    transcript.finish();
  });

  test("text", () => {
    expect(toText(transcript.items)).toBe("Hello <you> & me\n[connection lost: 2.3 s missing]\nBye\n");
  });

  test("SubRip", () => {
    expect(toSrt(transcript.items)).toBe(
      "1\n00:00:01,000 --> 00:00:02,800\nHello <you> & me\n\n2\n01:01:01,500 --> 01:01:02,300\nBye\n",
    );
  });

  test("WebVTT, with its special characters escaped", () => {
    expect(toVtt(transcript.items)).toBe(
      "WEBVTT\n\n00:00:01.000 --> 00:00:02.800\nHello &lt;you&gt; &amp; me\n\n01:01:01.500 --> 01:01:02.300\nBye\n",
    );
  });

  test("JSON", () => {
    expect(JSON.parse(toJson(transcript.items))).toMatchObject([
      { text: "Hello <you> & me", words: [{ text: "Hello", start: 1, stop: 1.3 }, {}, {}, {}] },
      { gap: { at: 10, missing: 2.25 } },
      { text: "Bye", words: [{ text: "Bye", start: 3661.5, stop: 3661.5 }] },
    ]);
  });

  test("cues are cut at two lines and at seven seconds, and never overlap", () => {
    transcript.clear();
    say(Array(38).fill("abcdefghi").join(" "), 0);
    transcript.finish();
    const cues = toSrt(transcript.items).trim().split("\n\n");
    expect(cues.length).toBe(5);
    const times = cues.map((cue) => cue.split("\n")[1]!.split(" --> "));
    times.forEach(([start, stop], i) => {
      expect(start! < stop!).toBe(true);
      if (i > 0) expect(times[i - 1]![1]! <= start!).toBe(true);
    });
    for (const cue of cues) expect(cue.split("\n")[2]!.length).toBeLessThanOrEqual(84);
  });
});

test.each([
  [0, "0:00"],
  [61.9, "1:01"],
  [3723, "1:02:03"],
])("the clock of %d s reads %s", (seconds, text) => {
  expect(shortClock(seconds)).toBe(text);
});
