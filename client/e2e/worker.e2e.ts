/** The whole of it: the real worker with the bundled checkpoint, the real auth server, and speech in Chromium's microphone. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { freePort } from "../demo/port.js";
import { startAuth } from "./support/auth";
import { expectAccessible, launch, signIn, signUp, visit } from "./support/browser";
import { expectWords, inOrder, plain, type Recording } from "./support/words";
import { API_KEY, ROOT, Worker } from "./support/worker";

/** What the microphone hears. */
let speech: Recording;
let worker: Worker;
let auth: Awaited<ReturnType<typeof startAuth>>;
let browser: Browser;
let origin: string;
/** The cookie that the worker reads; short, so that a test can outlive it. */
const COOKIE_SECONDS = "4";

beforeAll(async () => {
  const port = await freePort();
  origin = `http://localhost:${port}`;
  auth = await startAuth([origin], { AUTH_COOKIE_SECONDS: COOKIE_SECONDS });
  worker = new Worker({ port, rows: 2, queue: 1, page: { authUrl: `:${auth.port}` } });
  await worker.start();
  speech = await worker.recording("demo");
  browser = await launch(speech.wav);
});
afterAll(async () => {
  await browser?.close();
  await worker?.stop();
  worker?.cleanUp();
  await auth?.stop();
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
/** What the page says, without its clocks and pauses. */
const said = async (page: Page) => plain((await page.locator(".word").allInnerTexts()).join(" "));
/** Waits for enough of the right words; they come at the speed of speech. */
const reads = (page: Page, recording: Recording) =>
  vi.waitFor(async () => expectWords(await said(page), recording), { timeout: 60_000, interval: 200 });
const speaksUp = (page: Page) => page.locator(".word").first().waitFor();

/** Whether the page it runs in may open a stream, with whatever cookies it has. */
const connects = () =>
  new Promise<boolean>((resolve) => {
    const socket = new WebSocket("/api/asr-streaming");
    socket.onopen = () => {
      socket.close();
      resolve(true);
    };
    socket.onclose = () => resolve(false);
  });

test("sign up, speak, read the words, sign out, be refused", async () => {
  const page = await visit(browser, origin);
  const email = await signUp(page);
  expect(await page.evaluate(connects)).toBe(true);
  await start(page);
  await reads(page, speech);
  await page.getByText(/Delay \d/).waitFor();
  const shots = process.env["SCREENSHOTS"];
  if (shots) await page.screenshot({ path: `${shots}/speech.png` });
  await stop(page);
  expectWords(await said(page), speech);
  await expectAccessible(page);

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  const cookies = await page.context().cookies();
  expect(cookies.filter(({ name }) => name.includes("session"))).toEqual([]);
  expect((await page.request.get(`${origin}/api/auth-check`)).status()).toBe(401);
  expect(await page.evaluate(connects)).toBe(false);

  await signIn(page, email);
  expect(await page.locator(".word").count()).toBe(0);
});

test("the cookie runs out in the middle of use, and the next recording works all the same", async () => {
  const page = await visit(browser, origin);
  await signUp(page);
  await start(page);
  const cookie = async () => (await page.context().cookies()).some(({ name }) => name.endsWith("session_data"));
  expect(await cookie()).toBe(true);
  await expect.poll(cookie, { timeout: 30_000 }).toBe(false);
  const words = (await said(page)).length;
  await expect.poll(async () => (await said(page)).length, { timeout: 60_000 }).toBeGreaterThan(words);
  await listening(page);
  await stop(page);
  await start(page);
  await stop(page);
});

test("a session that ended elsewhere asks to sign in again, and keeps the captions", async () => {
  const page = await visit(browser, origin);
  const email = await signUp(page);
  await start(page);
  await speaksUp(page);
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

test("a full server: the third waits in line, the fourth is told, and a place that falls free is given on", async () => {
  const people: Page[] = [];
  for (const name of ["One", "Two", "Three", "Four"]) {
    const page = await visit(browser, origin);
    await signUp(page, name);
    people.push(page);
  }
  const [one, two, three, four] = people as [Page, Page, Page, Page];
  await start(one);
  await start(two);
  await three.getByRole("button", { name: "Start" }).click();
  await three.getByText("Place 1 in line").waitFor();
  await four.getByRole("button", { name: "Start" }).click();
  await four.getByRole("alert").getByText("The server is full").waitFor();
  await stop(one);
  await listening(three);
  await stop(two);
  await listening(four);
});

test("two browsers at once hear nothing of each other", async () => {
  const theirs = await worker.recording("held-out-espeak-2");
  const other = await launch(theirs.wav);
  try {
    const [one, two] = await Promise.all([visit(browser, origin), visit(other, origin)]);
    await Promise.all([signUp(one, "One"), signUp(two, "Two")]);
    await Promise.all([start(one), start(two)]);
    await Promise.all([reads(one, speech), reads(two, theirs)]);
    await Promise.all([stop(one), stop(two)]);
    expect(inOrder(theirs.spoken, await said(one))).toBeLessThan(0.4 * theirs.spoken.length);
    expect(inOrder(speech.spoken, await said(two))).toBeLessThan(0.4 * speech.spoken.length);
  } finally {
    await other.close();
  }
});

test("a dropped recording", async () => {
  const page = await visit(browser, origin);
  await signUp(page);
  await page.getByLabel("Transcribe a file").setInputFiles(speech.wav);
  await reads(page, speech);
});

test("the Python example", async () => {
  const script = join(ROOT, "client/examples/transcribe.py");
  const python = [join(ROOT, ".venv/bin/python"), "/usr/bin/python3"].find(existsSync)!;
  const example = (key: string) =>
    promisify(execFile)(python, [script, speech.wav, "--url", origin.replace("http", "ws"), "--api-key", key, "--speed", "4"]);
  expectWords(plain((await example(API_KEY)).stdout), speech);
  await expect(example("wrong")).rejects.toMatchObject({ stderr: expect.stringContaining("refused") as unknown });
});
