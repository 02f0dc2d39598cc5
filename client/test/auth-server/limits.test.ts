// @vitest-environment node
/** How much a request may send, and how long it may take. */
import { connect } from "node:net";
import { expect, test, vi } from "vitest";
import { MAX_BODY_BYTES } from "../../auth-server/src/body.js";
import { LIMITS } from "../../auth-server/src/server.js";
import { base, connections, eachWithFolder, PAGE, port, post, start, ZOE } from "../support/auth-server";
import { exchange } from "../support/raw-http";

eachWithFolder();

const head = (...headers: string[]) =>
  ["POST /api/auth/sign-in/email HTTP/1.1", "Host: x", `Origin: ${PAGE}`, "Content-Type: application/json", ...headers, "", ""].join("\r\n");
const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${" ".repeat(bytes)}\r\n`;

test("a body that says it is too long is refused before any of it came", async () => {
  await start();
  const answer = await exchange(port, head(`Content-Length: ${MAX_BODY_BYTES + 1}`));
  expect(answer).toMatch(/^HTTP\/1\.1 413 /);
  expect(answer).toContain(`${MAX_BODY_BYTES} bytes`);
});

test("a caller who asks first is refused before, or told to go on", async () => {
  await start();
  const refused = await exchange(port, head("Expect: 100-continue", `Content-Length: ${MAX_BODY_BYTES + 1}`));
  expect(refused).toMatch(/^HTTP\/1\.1 413 /);
  expect(refused).toMatch(/^connection: close\r$/im);
  expect(await exchange(port, `${head("Expect: 100-continue", "Content-Length: 2")}{}`)).toMatch(/^HTTP\/1\.1 100 [\s\S]*HTTP\/1\.1 400 /);
});

test("a body without a length is refused as soon as it is too long, though it goes on", async () => {
  await start();
  const answer = await exchange(port, head("Transfer-Encoding: chunked") + chunk(MAX_BODY_BYTES) + chunk(1));
  expect(answer).toMatch(/^HTTP\/1\.1 413 /);
});

test("a caller who sends a long body to its end is answered, and keeps nothing in memory", async () => {
  await start();
  const before = process.memoryUsage().arrayBuffers;
  const piece = new Uint8Array(1_000_000);
  let sent = 0;
  const body = new ReadableStream({
    pull(controller) {
      if (sent++ < 100) controller.enqueue(piece);
      else controller.close();
    },
  });
  const headers = { "content-type": "application/json", origin: PAGE };
  const response = await fetch(`${base}/api/auth/sign-in/email`, { method: "POST", headers, body, duplex: "half" } as RequestInit);
  expect(response.status).toBe(413);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50_000_000);
});

test("a body just short enough is taken, in one piece or in chunks", async () => {
  await start();
  await post("sign-up/email", ZOE);
  const text = JSON.stringify(ZOE).padEnd(MAX_BODY_BYTES);
  const headers = { "content-type": "application/json", origin: PAGE };
  const signIn = (init: RequestInit) => fetch(`${base}/api/auth/sign-in/email`, { method: "POST", headers, ...init });
  expect((await signIn({ body: text.slice(0, MAX_BODY_BYTES - 2) })).status).toBe(200);
  const chunks = new Blob([text.slice(0, MAX_BODY_BYTES - 2)]).stream();
  expect((await signIn({ body: chunks, duplex: "half" } as RequestInit)).status).toBe(200);
});

test("a POST without a body has none, whatever its type", async () => {
  await start();
  const answer = await exchange(port, head().replace("sign-in/email", "sign-out"));
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
});

test.each([
  ["a head", "POST /api/auth/sign-in/email HTTP/1.1\r\nHost: x\r\n"],
  ["a body", `${head("Content-Length: 100")}{`],
  ["a body in chunks", `${head("Transfer-Encoding: chunked")}${chunk(1)}`],
])("%s that never ends is told so, and its connection closed", async (_name, bytes) => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  await start({}, { ...LIMITS, headersTimeout: 200, requestTimeout: 300, connectionsCheckingInterval: 50 });
  expect(await exchange(port, bytes)).toMatch(/^HTTP\/1\.1 408 /);
  expect((await fetch(`${base}/healthz`)).status).toBe(200);
  expect(log).not.toHaveBeenCalled();
});

test("a connection too many is closed at once, and there is room again when others have gone", async () => {
  await start({}, { ...LIMITS, maxConnections: 2 });
  const held = [connect(port, "127.0.0.1"), connect(port, "127.0.0.1")];
  await Promise.all(held.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
  expect(await exchange(port, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).toBe("");
  for (const socket of held) socket.destroy();
  await vi.waitFor(async () => expect(await exchange(port, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).toMatch(/^HTTP\/1\.1 200 /));
});

test("whoever asks for a tunnel keeps no connection, though they never close it", async () => {
  await start();
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  socket.on("error", () => {}).write("CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n");
  const refusal = await new Promise<Buffer>((resolve) => socket.once("data", resolve));
  expect(refusal.toString()).toMatch(/^HTTP\/1\.1 405 /);
  await vi.waitFor(async () => expect(await connections()).toBe(0));
  socket.destroy();
});
