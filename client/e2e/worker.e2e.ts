/** The whole of it: the real worker with the bundled checkpoint, the real auth server, and speech in Chromium's microphone. */
import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { startAuth } from "./support/auth";
import { expectAccessible, launch, signIn, signUp, visit } from "./support/browser";
import { DIST } from "./support/pages";
import { freePort, ROOT, sample, Worker } from "./support/worker";

const { wav, words } = sample();
let worker: Worker;
let auth: Awaited<ReturnType<typeof startAuth>>;
let browser: Browser;
let origin: string;
/** The cookie that the worker reads; short, so that a test can outlive it. */
const COOKIE_SECONDS = 4;

beforeAll(async () => {
  const port = await freePort();
  origin = `http://localhost:${port}`;
  auth = await startAuth([origin], COOKIE_SECONDS);
  writeFileSync(join(DIST, "config.json"), JSON.stringify({ authUrl: `:${auth.port}` }));
  worker = new Worker({ port, rows: 2, queue: 1 });
  await worker.start();
  browser = await launch(wav);
});
afterAll(async () => {
  await browser?.close();
  await worker?.stop();
  worker?.cleanUp();
  await auth?.stop();
  writeFileSync(join(DIST, "config.json"), "{}\n");
});

afterEach(async () => {
  // Whoever is left would keep the next test's place.
  for (const context of browser.contexts()) await context.close();
});

const listening = (page: Page) => page.getByText(/^Listening/).waitFor();
const start = async (page: Page) => {
  await page.getByRole("button", { name: "Start" }).click();
  await listening(page);
};
const stop = async (page: Page) => {
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByText("Not listening").waitFor();
};
const plain = (text: string) => text.toLowerCase().replace(/[^a-z' ]+/g, " ").split(/\s+/).filter(Boolean);
/** What the page says, without its clocks and pauses. */
const said = async (page: Page) => plain((await page.locator(".word").allInnerTexts()).join(" "));

/** How many of `wanted` come in `heard`, in order. */
function inOrder(wanted: string[], heard: string[]): number {
  const best = Array.from({ length: wanted.length + 1 }, () => new Array<number>(heard.length + 1).fill(0));
  for (let i = 1; i <= wanted.length; i++) {
    for (let j = 1; j <= heard.length; j++) {
      best[i]![j] = wanted[i - 1] === heard[j - 1] ? best[i - 1]![j - 1]! + 1 : Math.max(best[i - 1]![j]!, best[i]![j - 1]!);
    }
  }
  return best[wanted.length]![heard.length]!;
}

/** The checkpoint is small and the microphone's Opus is lossy: three words of four must be right. */
function expectTranscript(heard: string[], wanted = plain(words.join(" "))): void {
  expect({ right: inOrder(wanted, heard) >= 0.75 * wanted.length, heard, wanted }).toMatchObject({ right: true });
}

test("sign up, speak, read the words, sign out, be refused", async () => {
  const page = await visit(browser, origin);
  const email = await signUp(page);
  await start(page);
  await expect.poll(async () => (await said(page)).length, { timeout: 60_000 }).toBeGreaterThan(0.8 * words.length);
  await page.getByText(/Delay \d/).waitFor();
  await stop(page);
  expectTranscript(await said(page));
  await expectAccessible(page);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  const cookies = await page.context().cookies();
  expect(cookies.filter(({ name }) => name.includes("session"))).toEqual([]);
  expect((await page.request.get(`${origin}/api/auth-check`)).status()).toBe(401);

  await signIn(page, email);
  expect(await page.locator(".word").count()).toBe(0);
});

test("the cookie runs out in the middle of use, and the next recording works all the same", async () => {
  const page = await visit(browser, origin);
  await signUp(page);
  await start(page);
  await new Promise((resolve) => setTimeout(resolve, (COOKIE_SECONDS + 2) * 1000));
  expect((await page.request.get(`${origin}/api/auth-check`)).status()).toBe(401);
  await listening(page);
  await stop(page);
  await start(page);
  await stop(page);
});

test("a session that ended elsewhere asks to sign in again, and keeps the captions", async () => {
  const page = await visit(browser, origin);
  const email = await signUp(page);
  await start(page);
  await expect.poll(async () => (await said(page)).length, { timeout: 60_000 }).toBeGreaterThan(0);
  await stop(page);
  const before = await said(page);
  await page.context().clearCookies();
  await page.getByRole("button", { name: "Start" }).click();
  await page.getByRole("button", { name: "Sign in again" }).click();
  await page.getByText("your captions are still here").waitFor();
  await signIn(page, email);
  expect(await said(page)).toEqual(before);
});

test("a restart of the server is lived through", async () => {
  const page = await visit(browser, origin);
  await signUp(page);
  await start(page);
  expect(await worker.stop()).toBe(0);
  await page.getByRole("alert").waitFor();
  await worker.start();
  await listening(page);
  expect(await page.getByRole("log").innerText()).toContain("connection lost");
  await stop(page);
});

test("two speakers hear nothing of each other, a third waits, a fourth is told that it is full", async () => {
  const people: Page[] = [];
  for (const name of ["One", "Two", "Three", "Four"]) {
    const page = await visit(browser, origin);
    await signUp(page, name);
    people.push(page);
  }
  const [one, two, three, four] = people as [Page, Page, Page, Page];
  await start(one);
  // The second is silent: any word on their page would be the first one's.
  await two.getByRole("button", { name: "Start" }).click();
  await two.getByRole("button", { name: "Mute" }).click();
  await two.getByText("Muted").waitFor();
  const before = await said(two);
  await three.getByRole("button", { name: "Start" }).click();
  await three.getByText("Place 1 in line").waitFor();
  await four.getByRole("button", { name: "Start" }).click();
  await four.getByRole("alert").getByText("The server is full").waitFor();
  await expect.poll(async () => (await said(one)).length, { timeout: 60_000 }).toBeGreaterThan(0.5 * words.length);
  expect((await said(two)).length - before.length).toBeLessThanOrEqual(1);
  await stop(one);
  await listening(three);
});

test("a dropped recording", async () => {
  const page = await visit(browser, origin);
  await signUp(page);
  await page.getByLabel("Transcribe a file").setInputFiles(wav);
  await page.locator(".word").first().waitFor();
  expectTranscript(await said(page));
});

test("the Python example", async () => {
  const script = join(ROOT, "client/examples/transcribe.py");
  const run = promisify(execFile);
  const url = origin.replace("http", "ws");
  const { stdout } = await run("python3", [script, wav, "--url", url, "--api-key", "an-api-key-for-tests", "--speed", "4"]);
  expectTranscript(plain(stdout));
  await expect(run("python3", [script, wav, "--url", url, "--api-key", "wrong"])).rejects.toMatchObject({ stderr: expect.stringContaining("refused") });
});
