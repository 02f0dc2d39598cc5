/**
 * What the page does in every state a server can put it in; the server is a scripted one.
 * `SCREENSHOTS=folder` keeps a picture of each.
 */
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type FakeConnection, FakeServer } from "../test/support/fake-server";
import { startAuth } from "./support/auth";
import { expectAccessible, launch, signUp, visit } from "./support/browser";
import { pages } from "./support/pages";

let browser: Browser;
let server: FakeServer;
let auth: Awaited<ReturnType<typeof startAuth>>;
let page: Page;
let origin: string;
const shots = process.env["SCREENSHOTS"];

beforeAll(async () => {
  browser = await launch();
  server = await FakeServer.start();
  origin = `http://localhost:${server.port}`;
  auth = await startAuth([origin]);
  server.fallback = pages({ authUrl: `:${auth.port}` });
  page = await visit(browser, origin);
  await signUp(page);
});
afterAll(async () => {
  await browser?.close();
  await auth?.stop();
  await server?.stop();
});
beforeEach(async () => {
  server.onConnection = (connection) => connection.ready();
  server.refuseUpgrade = null;
  server.usedSlots = 0;
  server.forgetConnections();
  await page.goto(origin);
  await page.getByText("Not listening").waitFor();
});

async function shot(name: string, of: Page = page): Promise<void> {
  if (shots) await of.screenshot({ path: `${shots}/${name}.png` });
}

async function start(of: Page = page): Promise<FakeConnection> {
  await of.getByRole("button", { name: "Start" }).click();
  const connection = await server.connection();
  await of.getByText("Listening", { exact: true }).waitFor();
  return connection;
}

async function stop(connection: FakeConnection, of: Page = page): Promise<void> {
  await of.getByRole("button", { name: "Stop" }).click();
  await connection.until(() => connection.controls.some((c) => c.type === "EndOfStream"));
  connection.send({ type: "EndOfStream" });
  await of.getByText("Not listening").waitFor();
}

const TALK = [
  "When the river rises in spring, the ferryman moves his hut to the upper bank.",
  "Nobody tells him to. He reads the colour of the water,",
  "and the day it turns from green to brown he packs his kettle.",
];

/** A talk with pauses, its last phrase still open. */
function talk(connection: FakeConnection): void {
  let at = 0.6;
  for (const phrase of TALK) {
    for (const word of phrase.split(" ")) {
      connection.say(word, at, at + 0.28);
      at += 0.34;
    }
    at += 1.9;
  }
  connection.say("Then,", at, at + 0.3);
  connection.send({ type: "Word", text: "upstream,", start_time: at + 0.4 });
}

test("sound goes out as Opus in Ogg, and its delay is shown", async () => {
  const connection = await start();
  await connection.until(() => connection.ogg.length > 30);
  expect(connection.query.has("input")).toBe(false);
  const text = (page: Uint8Array) => new TextDecoder("latin1").decode(page);
  expect(text(connection.ogg[0]!)).toContain("OpusHead");
  expect(connection.ogg.every((page) => text(page).startsWith("OggS"))).toBe(true);
  // The fake microphone beeps: speech-sized packets, not the few bytes of silence.
  expect(Math.max(...connection.ogg.map((page) => page.length))).toBeGreaterThan(60);
  await page.getByText(/Delay \d/).waitFor();
  await stop(connection);
});

test("a browser without WebCodecs sends PCM16", async () => {
  const plain = await visit(browser, "about:blank");
  await plain.addInitScript(() => Reflect.deleteProperty(window, "AudioEncoder"));
  await plain.goto(origin);
  await signUp(plain);
  const connection = await start(plain);
  expect(connection.query.get("input")).toBe("pcm16");
  await connection.until(() => Math.max(...connection.samples) > 1000);
  await stop(connection, plain);
  await plain.context().close();
});

test("words, pauses and times, read by anyone", async () => {
  const connection = await start();
  talk(connection);
  await page.getByText("upstream,").waitFor();
  expect(await page.getByRole("log").innerText()).toContain("packs his kettle.");
  expect(await page.getByRole("log").innerText()).not.toContain("upstream");
  await page.getByText("ferryman").click();
  await page.getByText("“ferryman” at 0:03.0 to 0:03.3").waitFor();
  await expectAccessible(page);
  await shot("live-light");
  await page.getByRole("button", { name: "Download" }).click();
  await expectAccessible(page);
  await shot("export");
  await page.keyboard.press("Escape");
  await stop(connection);
});

test("a cut is marked, and the words of the saved audio come in their place", async () => {
  const first = await start();
  await first.until(() => first.controls.length >= 2);
  first.say("before", 0.1, 0.4);
  first.close(1012);
  const second = await server.connection();
  await second.until(() => second.ogg.length > 5);
  second.say("after", 0.1, 0.4);
  await page.getByText("after").waitFor();
  expect(await page.getByRole("log").innerText()).toMatch(/before\s+\[connection lost and restored: nothing missing\]/);
  await stop(second);
});

describe("what goes wrong is told", () => {
  test("a queue, with the place in it", async () => {
    server.onConnection = (connection) => connection.send({ type: "Queued", position: 3 });
    await page.getByRole("button", { name: "Start" }).click();
    const connection = await server.connection();
    await page.getByText("Place 3 in line").waitFor();
    await shot("queue");
    connection.send({ type: "Queued", position: 1 });
    await page.getByText("Place 1 in line").waitFor();
    connection.ready();
    await page.getByText("Listening", { exact: true }).waitFor();
    await stop(connection);
  });

  test.each([
    [503, 4, "The server is full"],
    [500, 0, "The server can’t be reached"],
  ])("a handshake refused with %i, till it is not", async (status, usedSlots, title) => {
    server.refuseUpgrade = status;
    server.usedSlots = usedSlots;
    await page.getByRole("button", { name: "Start" }).click();
    await page.getByRole("alert").getByText(title).waitFor();
    await page.getByText(/Retrying in \d+ s|Retrying…/).waitFor();
    await expectAccessible(page);
    await shot(`refused-${status}`);
    server.refuseUpgrade = null;
    const connection = await server.connection();
    await page.getByText("Listening", { exact: true }).waitFor();
    expect(await page.getByRole("alert").count()).toBe(0);
    await stop(connection);
  });

  test("a wrong password, where the focus goes", async () => {
    const stranger = await visit(browser, origin);
    await stranger.getByLabel("E-mail").fill("nobody@example.test");
    await stranger.getByLabel("Password", { exact: true }).fill("not the password");
    await stranger.getByRole("button", { name: "Sign in", exact: true }).click();
    await stranger.getByRole("alert").getByText("don’t match").waitFor();
    await expect.poll(() => stranger.getByRole("alert").evaluate((alert) => alert === document.activeElement)).toBe(true);
    await expectAccessible(stranger);
    await shot("wrong-password", stranger);
    await stranger.context().close();
  });

  test("no permission for the microphone", async () => {
    const denied = await visit(browser, origin, { permissions: [] });
    await denied.addInitScript(() => {
      navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await denied.reload();
    await signUp(denied);
    await denied.getByRole("button", { name: "Start" }).click();
    await denied.getByRole("alert").getByText("The microphone is blocked").waitFor();
    await expectAccessible(denied);
    await shot("blocked", denied);
    await denied.context().close();
  });
});

test("the keyboard reaches everything, in order", async () => {
  await page.locator("body").press("Tab");
  const names: string[] = [];
  for (let i = 0; i < 12; i++) {
    names.push(
      await page.evaluate(() => {
        const active = document.activeElement;
        const labelled = active instanceof HTMLInputElement || active instanceof HTMLSelectElement ? active.labels?.[0] : null;
        return active?.getAttribute("aria-label") ?? labelled?.textContent ?? active?.textContent ?? "";
      }),
    );
    await page.keyboard.press("Tab");
  }
  const order = ["Sign out", "Transcribe a file", "Captions", "Start", "Test the microphone", "Microphone", "Smaller", "Larger", "Announce"];
  const found = order.map((wanted) => names.findIndex((name) => name.startsWith(wanted)));
  expect(found.every((at) => at >= 0)).toBe(true);
  expect(found).toEqual([...found].sort((a, b) => a - b));
});

describe.each([
  ["light", { colorScheme: "light", viewport: { width: 1280, height: 800 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1280, height: 800 } }],
  ["phone", { colorScheme: "light", viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
  ["phone-dark", { colorScheme: "dark", viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true }],
] as const)("on a %s screen", (name, options) => {
  test("every page fits and is accessible", async () => {
    const visitor = await visit(browser, origin, options);
    const fits = async () =>
      expect(await visitor.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
    await visitor.getByRole("heading", { name: "Sign in" }).waitFor();
    await expectAccessible(visitor);
    await fits();
    await shot(`sign-in-${name}`, visitor);
    await signUp(visitor);
    await expectAccessible(visitor);
    await fits();
    await shot(`empty-${name}`, visitor);
    const connection = await start(visitor);
    talk(connection);
    await visitor.getByText("upstream,").waitFor();
    await expectAccessible(visitor);
    await fits();
    await shot(`talk-${name}`, visitor);
    await stop(connection, visitor);
    await visitor.context().close();
  });
});
