/** A session that is longer than the token it began with, at a server that ends sessions with their tokens. */
import type { Browser, Page, WebSocket } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { freePort } from "../demo/port.js";
import { startAuth } from "./support/auth";
import { launch, signUp, visit } from "./support/browser";
import { plain } from "./support/words";
import { ROOT, Worker } from "./support/worker";

/** Of a token; the page asks for the next one after three quarters of it. */
const LIFE_SECONDS = 12;
let worker: Worker;
let auth: Awaited<ReturnType<typeof startAuth>>;
let browser: Browser;
let origin: string;

beforeAll(async () => {
  const port = await freePort();
  origin = `http://localhost:${port}`;
  auth = await startAuth([origin], { AUTH_TOKEN_SECONDS: String(LIFE_SECONDS) });
  worker = new Worker({
    port,
    // By another name than the auth server's, so that no cookie goes there.
    page: { authUrl: `:${auth.port}`, serverUrl: `http://127.0.0.1:${port}` },
    server: `allowed_origins = ["${origin}"]`,
    tables: '[auth]\non_expiry = "token"\n[auth.better_auth]\naudience = "moshi-server"\nleeway_s = 0',
  });
  await worker.start();
  browser = await launch(`${ROOT}/models/stt-demo/samples/demo.wav`, { loop: true });
});
afterAll(async () => {
  await browser?.close();
  await worker?.stop();
  worker?.cleanUp();
  await auth?.stop();
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
});

/** Every WebSocket that the page opens, with what goes each way as text. */
function watchSockets(page: Page) {
  const sockets: { socket: WebSocket; sent: string[]; received: string[] }[] = [];
  page.on("websocket", (socket) => {
    const watched = { socket, sent: [] as string[], received: [] as string[] };
    const note = (list: string[]) => ({ payload }: { payload: string | Buffer }) => void (typeof payload === "string" && list.push(payload));
    socket.on("framesent", note(watched.sent)).on("framereceived", note(watched.received));
    sockets.push(watched);
  });
  return sockets;
}
const types = (messages: string[], type: string) => messages.filter((text) => text.includes(`"type":"${type}"`));
const said = async (page: Page) => plain((await page.locator(".word").allInnerTexts()).join(" "));

async function begin(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Start" }).click();
  await page.getByText(/^Listening/).waitFor();
  await page.locator(".word").first().waitFor();
}

test("goes on in one connection with all its words, because the page shows a newer token in time", async () => {
  const page = await visit(browser, origin);
  const sockets = watchSockets(page);
  await signUp(page);
  await begin(page);
  // The second comes after the first token has ended.
  await vi.waitFor(() => expect(types(sockets[0]?.received ?? [], "Renewed").length).toBeGreaterThanOrEqual(2), { timeout: 60_000, interval: 100 });
  const tokens = types(sockets[0]!.sent, "Renew").map((text) => (JSON.parse(text) as { token: string }).token);
  expect(new Set(tokens).size).toBe(tokens.length);
  const before = await said(page);
  await expect.poll(async () => (await said(page)).length, { timeout: 60_000 }).toBeGreaterThan(before.length);
  expect((await said(page)).slice(0, before.length - 1)).toEqual(before.slice(0, -1));
  expect(sockets.length).toBe(1);
  expect(sockets[0]!.socket.isClosed()).toBe(false);
  expect(await page.getByRole("log").innerText()).not.toContain("connection lost");
});

test("ends with its token after a sign-out elsewhere, and keeps its words", async () => {
  const page = await visit(browser, origin);
  const sockets = watchSockets(page);
  await signUp(page);
  await begin(page);
  // Another tab signs out; this browser's cookies are as they were.
  const cookie = (await page.context().cookies()).map(({ name, value }) => `${name}=${value}`).join("; ");
  const headers = { cookie, origin, "content-type": "application/json" };
  const signOut = await fetch(`http://localhost:${auth.port}/api/auth/sign-out`, { method: "POST", headers, body: "{}" });
  expect(signOut.status).toBe(200);
  await page.getByRole("button", { name: "Sign in again" }).waitFor({ timeout: 60_000 });
  expect(types(sockets[0]!.sent, "Renew")).toEqual([]);
  expect((await said(page)).length).toBeGreaterThan(0);
});
