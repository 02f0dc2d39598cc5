/** What the README promises: one command, a page, an account, one's own words. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { launch, signUp, visit } from "./support/browser";
import { expectWords, inOrder, plain } from "./support/words";
import { recording, ROOT, spoken, workerProgram } from "./support/worker";

let data: string;
let demo: ChildProcess;
let output: string;

beforeEach(() => {
  data = mkdtempSync(join(tmpdir(), "moshi-data-"));
  output = "";
});
afterEach(() => {
  demo.kill("SIGKILL");
  rmSync(data, { recursive: true });
});

function start(...args: string[]): void {
  const env = { ...process.env, MOSHI_DATA: data, MOSHI_SERVER: workerProgram() };
  demo = spawn(join(ROOT, "scripts/demo"), args, { env, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [demo.stdout, demo.stderr]) stream?.on("data", (text: Buffer) => (output += text.toString()));
}

/** What the demo says of itself, by the word in front. */
const told = (what: string) =>
  vi.waitFor(
    () => {
      expect(demo.exitCode, output).toBe(null);
      const found = new RegExp(`^  ${what} +(\\S+)`, "m").exec(output)?.[1];
      expect(found, output).toBeDefined();
      return found!;
    },
    { timeout: 110_000, interval: 200 },
  );

test("the demo ends with a page where one can sign up and read one's own words", async () => {
  start();
  const page = await told("Page");
  const speech = await recording("demo", page.replace("http", "ws"), readFileSync(join(data, "api-key"), "utf8").trim());
  expect((await fetch(await told("Metrics"))).status).toBe(200);

  const browser = await launch(speech.wav);
  try {
    const visitor = await visit(browser, page);
    await signUp(visitor);
    await visitor.getByRole("button", { name: "Start" }).click();
    const words = async () => plain((await visitor.locator(".word").allInnerTexts()).join(" "));
    await vi.waitFor(async () => expectWords(await words(), speech), { timeout: 60_000, interval: 200 });
    await visitor.getByRole("button", { name: "Sign out" }).click();
    await visitor.getByRole("heading", { name: "Sign in" }).waitFor();
  } finally {
    await browser.close();
  }

  demo.kill("SIGTERM");
  expect(await once(demo, "exit"), output).toEqual([0, null]);
});

test("--exit ends it after the sample, with the words on the terminal", async () => {
  start("--exit");
  expect(await once(demo, "exit"), output).toEqual([0, null]);
  const heard = plain(output);
  expect(inOrder(spoken("demo"), heard), output).toBeGreaterThan(0.4 * spoken("demo").length);
});
