// @vitest-environment node
import { describe, expect, test } from "vitest";
import { GuessCounter, GUESSES, WINDOW_SECONDS } from "../../auth-server/src/guesses.js";
import { cookies, eachWithFolder, post, start, ZOE } from "../support/auth-server";

eachWithFolder();

describe("the count of guesses", () => {
  let now = 1_000_000;
  const counter = (max?: number) => new GuessCounter(() => now, max);
  const guess = (of: GuessCounter, times: number, email = "zoe", address?: string) =>
    Array.from({ length: times }, (_, i) => of.begin(email, address ?? `192.0.2.${i}`));

  test("is one for all addresses together, and ends with its window", () => {
    const guesses = counter();
    expect(guess(guesses, GUESSES)).toEqual(Array(GUESSES).fill(0));
    now += 100_000;
    expect(guesses.begin("zoe", "203.0.113.1")).toBe(WINDOW_SECONDS - 100);
    expect(guesses.begin("ada", "203.0.113.1")).toBe(0);
    now += (WINDOW_SECONDS - 100) * 1000;
    expect(guesses.begin("zoe", "203.0.113.1")).toBe(0);
  });

  test("doesn't grow by right passwords, and isn't begun anew by them", () => {
    const guesses = counter();
    guess(guesses, GUESSES - 1);
    for (let i = 0; i < 5; i++) {
      expect(guesses.begin("zoe", `198.51.100.${i}`)).toBe(0);
      guesses.succeed("zoe", `198.51.100.${i}`);
    }
    expect(guess(guesses, 2)).toEqual([0, WINDOW_SECONDS]);
  });

  test("leaves out addresses that the account is known at, which have their own", () => {
    const guesses = counter();
    guesses.succeed("zoe", "home");
    guess(guesses, GUESSES + 1);
    expect(guess(guesses, GUESSES + 1, "zoe", "home")).toEqual([...Array<number>(GUESSES).fill(0), WINDOW_SECONDS]);
    expect(guesses.begin("ada", "home")).toBe(0);
  });

  test("is kept for a bounded number of accounts and addresses, the newest", () => {
    const guesses = counter(3);
    for (const email of ["a", "b", "c"]) guess(guesses, GUESSES, email);
    expect(guesses.begin("c", "x")).toBeGreaterThan(0);
    expect(guesses.begin("d", "x")).toBe(0);
    expect(guesses.begin("b", "x")).toBeGreaterThan(0);
    expect(guesses.begin("a", "x")).toBe(0);
    for (const address of ["1", "2", "3", "4"]) guesses.succeed("e", address);
    guess(guesses, GUESSES, "e");
    expect(guesses.begin("e", "1")).toBeGreaterThan(0);
    expect(guesses.begin("e", "4")).toBe(0);
  });
});

describe("signing in", () => {
  const from = (address: string) => ({ "x-forwarded-for": address });

  test("many addresses that guess one password have to wait, told alike whether there is an account", async () => {
    await start({ AUTH_TRUST_PROXY: "1", AUTH_RATE_LIMIT: "on" });
    await post("sign-up/email", ZOE, from("203.0.113.1"));
    const answers = [];
    for (const email of [ZOE.email, "nobody@example.test"]) {
      // The same account in other letters.
      const wrong = (i: number) => ({ email: i % 2 ? email : email.toUpperCase(), password: "wrong horse" });
      const guesses = await Promise.all(Array.from({ length: GUESSES + 2 }, (_, i) => post("sign-in/email", wrong(i), from(`192.0.2.${i}`))));
      expect(guesses.map(({ status }) => status).sort()).toEqual([...Array<number>(GUESSES).fill(401), 429, 429]);
      const refused = await post("sign-in/email", { email, password: ZOE.password }, from("198.51.100.1"));
      expect(Number(refused.headers.get("x-retry-after"))).toBeGreaterThan(0);
      expect(cookies(refused)).toBe("");
      answers.push([refused.status, await refused.text()]);
    }
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]?.[0]).toBe(429);
    // Where she signed up she is heard all the same.
    expect((await post("sign-in/email", ZOE, from("203.0.113.1"))).status).toBe(200);
  });

  test("a body without an address is the endpoint's to refuse", async () => {
    await start({ AUTH_RATE_LIMIT: "on" });
    expect((await post("sign-in/email", { email: { a: 1 } })).status).toBe(400);
  });
});

test("who has a list of addresses can't try them all at sign-up", async () => {
  await start({ AUTH_TRUST_PROXY: "1", AUTH_RATE_LIMIT: "on" });
  const statuses: number[] = [];
  for (let i = 0; i < 11; i++) {
    // Too short a password is refused before anything is looked up, and without work.
    const person = { ...ZOE, email: `person${i}@example.test`, password: "short" };
    statuses.push((await post("sign-up/email", person, { "x-forwarded-for": "192.0.2.77" })).status);
  }
  expect(statuses).toEqual([...Array<number>(10).fill(400), 429]);
});
