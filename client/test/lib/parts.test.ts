import { describe, expect, test } from "vitest";
import { Backoff } from "../../src/lib/moshi/backoff";
import { AudioBacklog } from "../../src/lib/moshi/backlog";
import { pcm16 } from "../../src/lib/moshi/encoder";
import { failureFromClose, failureFromMessage, failureFromStatus } from "../../src/lib/moshi/failure";
import { readWords } from "../../src/lib/moshi/file";

describe("Backoff", () => {
  test("doubles up to its cap and starts over", () => {
    const backoff = new Backoff({ base: 1, cap: 5, random: () => 1 });
    expect([backoff.next(), backoff.next(), backoff.next(), backoff.next()]).toEqual([1, 2, 4, 5]);
    backoff.reset();
    expect(backoff.next()).toBe(1);
  });

  test("jitter takes up to half away", () => {
    expect(new Backoff({ base: 4, random: () => 0 }).next()).toBe(2);
  });
});

describe("AudioBacklog", () => {
  const chunk = (...values: number[]) => Float32Array.from(values);

  test("keeps what is not confirmed, in whole chunks", () => {
    const backlog = new AudioBacklog(100);
    backlog.push(chunk(1, 2, 3));
    backlog.push(chunk(4, 5));
    backlog.push(chunk(6));
    backlog.confirm(4);
    expect(backlog.start).toBe(3);
    expect(backlog.held().map((c) => [...c])).toEqual([[4, 5], [6]]);
    expect(backlog.missing).toBe(0);
    backlog.confirm(6);
    expect(backlog.held()).toEqual([]);
    expect(backlog.start).toBe(6);
  });

  test("drops the oldest beyond its capacity, and says how much is missing", () => {
    const backlog = new AudioBacklog(4);
    backlog.push(chunk(1, 2));
    backlog.confirm(2);
    backlog.push(chunk(3, 4, 5));
    backlog.push(chunk(6, 7, 8));
    expect(backlog.held().map((c) => [...c])).toEqual([[6, 7, 8]]);
    expect(backlog.missing).toBe(3);
    backlog.forgetMissing();
    expect(backlog.missing).toBe(0);
  });

  test("confirming never goes back", () => {
    const backlog = new AudioBacklog(100);
    backlog.push(chunk(1, 2));
    backlog.push(chunk(3, 4));
    backlog.confirm(2);
    backlog.confirm(1);
    expect(backlog.start).toBe(2);
    expect(backlog.missing).toBe(0);
  });
});

test("PCM16 clips, and uses the whole range", () => {
  const view = new DataView(pcm16(Float32Array.of(0, 1, -1, 2, -3, 0.5)).buffer);
  expect(Array.from({ length: 6 }, (_, i) => view.getInt16(i * 2, true))).toEqual([0, 32767, -32767, 32767, -32767, 16384]);
});

describe("failures", () => {
  test.each([
    [1001, "draining", true],
    [1006, "unreachable", true],
    [1008, "policy", false],
    [1009, "too-large", false],
    [1011, "engine", true],
    [1012, "draining", true],
    [1013, "full", true],
    [4401, "unauthenticated", false],
    [4403, "forbidden", false],
  ])("close code %i is %s", (code, kind, retryable) => {
    expect(failureFromClose(code, "")).toMatchObject({ kind, retryable });
  });

  test.each([
    [200, null],
    [401, "unauthenticated"],
    [403, "forbidden"],
    [413, "too-large"],
    [429, "policy"],
    [503, "full"],
    [500, "engine"],
    [400, "protocol"],
  ])("status %i is %s", (status, kind) => {
    expect(failureFromStatus(status, null)?.kind ?? null).toBe(kind);
  });

  test("Retry-After in seconds is kept, a date is not", () => {
    expect(failureFromStatus(503, "7")?.retryAfter).toBe(7);
    expect(failureFromStatus(503, "Mon, 01 Jan 2029 00:00:00 GMT")?.retryAfter).toBeNull();
  });

  test("the classic message of a full server", () => {
    expect(failureFromMessage("no free channels").kind).toBe("full");
    expect(failureFromMessage("boom").kind).toBe("engine");
  });
});

describe("readWords", () => {
  test("joins each word with its end, and lets the last go without", () => {
    const body = [
      { type: "Word", text: "one", start_time: 0.1 },
      { type: "EndWord", stop_time: 0.4 },
      { type: "Marker", id: 0 },
      { type: "Word", text: "two", start_time: 0.5 },
    ];
    expect(readWords(body)).toEqual([
      { text: "one", start: 0.1, stop: 0.4 },
      { text: "two", start: 0.5, stop: null },
    ]);
  });

  test("an error inside is one", () => {
    expect(() => readWords([{ type: "Error", message: "no free channels" }])).toThrow("no free channels");
    expect(() => readWords({})).toThrow();
  });
});
