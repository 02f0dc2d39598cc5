import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Renewer, tokenSeconds } from "../../src/lib/moshi/renewal";

describe("a renewer", () => {
  let sent: string[];
  let made: number;
  beforeEach(() => {
    vi.useFakeTimers();
    sent = [];
    made = 0;
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  const token = () => Promise.resolve(`token ${++made}`);
  const renewer = (seconds: number, get: () => Promise<string | null> = token) => new Renewer({ seconds, token: get }, (t) => sent.push(t));
  const pass = (seconds: number) => vi.advanceTimersByTimeAsync(seconds * 1000);

  test("sends a newer token before the old one ends, and again before that one does", async () => {
    const one = renewer(60);
    one.start();
    await pass(44);
    expect(sent).toEqual([]);
    await pass(2);
    expect(sent).toEqual(["token 1"]);
    one.renewed(300);
    await pass(269);
    expect(sent).toHaveLength(1);
    await pass(2);
    expect(sent).toEqual(["token 1", "token 2"]);
  });

  test("counts the time in the queue", async () => {
    const one = renewer(60);
    await pass(58);
    expect(made).toBe(0);
    one.start();
    await pass(1.6);
    expect(sent).toEqual(["token 1"]);
  });

  test("asks once only while no answer comes, and not after a refusal", async () => {
    renewer(60).start();
    await pass(3600);
    expect(sent).toEqual(["token 1"]);
  });

  test("tries again while the auth server gives no answer and there is time", async () => {
    let tries = 0;
    const failing = () => (++tries < 3 ? Promise.reject(new Error("down")) : token());
    renewer(60, failing).start();
    await pass(46);
    expect(sent).toEqual([]);
    await pass(10);
    expect(sent).toEqual(["token 1"]);
    let last = 0;
    renewer(60, () => Promise.reject(new Error(`${(last = performance.now())}`))).start();
    const began = performance.now();
    await pass(3600);
    expect((last - began) / 1000).toBeGreaterThan(55);
    expect((last - began) / 1000).toBeLessThan(66);
  });

  test("leaves it when nobody is signed in any more, or the connection is over", async () => {
    renewer(60, () => Promise.resolve(null)).start();
    const stopped = renewer(60);
    stopped.start();
    await pass(10);
    stopped.stop();
    stopped.renewed(1);
    let answer: (token: string) => void = () => undefined;
    const slow = renewer(60, () => new Promise((resolve) => (answer = resolve)));
    slow.start();
    await pass(50);
    slow.stop();
    answer("late");
    await pass(3600);
    expect(sent).toEqual([]);
  });

  test("a session without end is not asked for all the time", async () => {
    const one = renewer(60);
    one.start();
    await pass(46);
    one.renewed(1.8e19);
    await pass(24 * 3600);
    expect(sent).toHaveLength(1);
  });
});

describe("the life of a token", () => {
  const jwt = (claims: object) => `h.${btoa(JSON.stringify(claims)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}.s`;

  test("is what its issuer gave it, whatever the time is here", () => {
    expect(tokenSeconds(jwt({ iat: 1000, exp: 1060, name: "?>~?>~" }))).toBe(60);
  });

  test("is unknown when it is not said", () => {
    for (const odd of ["", "opaque", "a.b.c", jwt({ exp: 5 }), jwt({ iat: 5, exp: 5 }), jwt({ iat: "1", exp: 9 })]) {
      expect(tokenSeconds(odd)).toBeNull();
    }
  });
});
