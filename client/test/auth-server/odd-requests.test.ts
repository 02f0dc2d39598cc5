// @vitest-environment node
/** No request may end the auth server. It runs as it does in production, in a process of its own that would end. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { requestListener } from "../../auth-server/src/requests.js";
import { freePort } from "../../demo/port.js";
import { exchange, sendAndReset } from "../support/raw-http";

const MAIN = fileURLToPath(new URL("../../auth-server/src/main.js", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "moshi-auth-"));
let server: ChildProcess;
let port: number;
let said = "";

beforeAll(async () => {
  port = await freePort();
  server = spawn(process.execPath, [MAIN], {
    env: {
      AUTH_PORT: String(port),
      AUTH_DATABASE: join(folder, "auth.sqlite"),
      BETTER_AUTH_SECRET_FILE: join(folder, "secret"),
      AUTH_TRUST_PROXY: "1",
      AUTH_RATE_LIMIT: "off",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  for (const stream of [server.stdout!, server.stderr!]) stream.setEncoding("utf8").on("data", (text: string) => (said += text));
  await vi.waitFor(() => expect(said).toContain("auth server on"), { timeout: 30_000 });
});
afterAll(async () => {
  expect(server.exitCode, "the process has ended").toBeNull();
  expect(said).not.toMatch(/could not be answered|beside a request/);
  const ended = once(server, "exit");
  server.kill("SIGKILL");
  await ended;
  rmSync(folder, { recursive: true });
});

const get = (target: string, ...headers: string[]) => [`GET ${target} HTTP/1.1`, ...headers, "", ""].join("\r\n");
const ask = (method: string) => `${method} /api/auth/ok HTTP/1.1\r\nHost: x\r\n\r\n`;
const hosts = [
  "ev il", "x:99999", "x:abc", "a:b:c", "[", "]", "[::1", "[v1.x]", "%00", "%", "a@b", "a/b", "a\\b", "a?b", "a#b", "a^b", "999.1.1.1", "1.2.3.4.5.", "xn--a",
  "", " ", "\xff\xfe", "x, y", "x".repeat(8000),
];
const signIn = (body: string, ...headers: string[]) =>
  ["POST /api/auth/sign-in/email HTTP/1.1", "Host: x", "Origin: http://localhost:8080", ...headers, "", body].join("\r\n");
const json = "Content-Type: application/json";
const guess = '{"email":"zoe@example.test","password":"correct horse"}';

/** What is sent, and the status of the answer; 0: a closed connection is answer enough. */
const requests: [string, string, number][] = [
  ...hosts.map((host): [string, string, number] => [`Host: ${host.slice(0, 20)}`, get("/api/auth/ok", `Host: ${host}`), 200]),
  ["no Host", get("/api/auth/ok"), 400],
  ["two Hosts", get("/api/auth/ok", "Host: x", "Host: ev il"), 0],
  ["HTTP/1.0 without Host", "GET /api/auth/ok HTTP/1.0\r\n\r\n", 200],
  ["HTTP/0.9", "GET /api/auth/ok\r\n\r\n", 0],
  ["HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".padEnd(200, "\0"), 400],
  ...["[", "javascript", "https, http", "a b", ""].map((proto): [string, string, number] => [
    `X-Forwarded-Proto: ${proto}`, get("/api/auth/ok", "Host: x", `X-Forwarded-Proto: ${proto}`), 200,
  ]),
  ["X-Forwarded-Host", get("/api/auth/ok", "Host: x", "X-Forwarded-Host: x:99999", "Forwarded: host=[;proto=["), 200],
  ["X-Forwarded-For", get("/api/auth/get-session", "Host: x", "X-Forwarded-For: [, \xff, 1.2.3.4.5, ::::"), 200],
  ["Origin", get("/api/auth/ok", "Host: x", "Origin: http://[:99999"), 200],
  ...["TRACE", "PUT", "PATCH", "DELETE", "PROPFIND", "PURGE", "M-SEARCH", "SOURCE"].map((method): [string, string, number] => [method, ask(method), 405]),
  ["CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 405],
  ["CONNECT to nothing", "CONNECT [ HTTP/1.1\r\nHost: [\r\n\r\nmore", 0],
  ["a method that is none", ask("GE T"), 400],
  ["HEAD", ask("HEAD"), 0],
  ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 204],
  ["GET *", get("*", "Host: x"), 0],
  ["absolute target", get("http://x/api/auth/ok", "Host: x"), 200],
  ["absolute target with an odd host", get("http://x:99999/api/auth/ok", "Host: x"), 0],
  ["absolute target without a path", get("http://x?y", "Host: x"), 404],
  ["absolute target of another kind", get("gopher://x/api/auth/ok", "Host: x"), 404],
  ["two slashes", get("//evil.test/api/auth/ok", "Host: x"), 404],
  ["a path that leads out", get("/api/auth/../../etc/passwd", "Host: x"), 404],
  ["half an escape", get("/api/auth/%", "Host: x"), 404],
  ["an escape that is no text", get("/api/auth/%ff%fe", "Host: x"), 404],
  ["bytes that are no text", get("/api/auth/\xff\xfe", "Host: x"), 0],
  ["a query that is none", get("/api/auth/get-session?a=%&%=%ff&[]&__proto__[x]=1", "Host: x"), 200],
  ["a fragment", get("/api/auth/ok#x", "Host: x"), 0],
  ["a long target", get(`/api/auth/${"x".repeat(20_000)}`, "Host: x"), 431],
  ["a long header", get("/api/auth/ok", "Host: x", `Cookie: ${"x".repeat(20_000)}`), 431],
  ["many headers", get("/api/auth/ok", "Host: x", ...Array.from({ length: 1500 }, (_, i) => `a${i}: b`)), 0],
  ["names of an object's own", get("/api/auth/ok", "Host: x", "__proto__: x", "constructor: y", "toString: z"), 200],
  ["a broken cookie", get("/api/auth/get-session", "Host: x", "Cookie: better-auth.session_token=%; better-auth.session_data=%ff.%.x; =; ;"), 200],
  ["Upgrade", get("/api/auth/ok", "Host: x", "Connection: Upgrade", "Upgrade: websocket"), 200],
  ["Upgrade to h2c", get("/api/auth/ok", "Host: x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"), 200],
  ["an expectation", get("/api/auth/ok", "Host: x", "Expect: the-worst"), 417],
  ["a line that is no header", get("/api/auth/ok", "Host: x", "no colon"), 400],
  ["a folded header", get("/api/auth/ok", "Host: x", "A: b", " c"), 0],
  ["NUL in a header", get("/api/auth/ok", "Host: x", "A: b\0c"), 400],
  ["two lengths", signIn("{}", json, "Content-Length: 2", "Content-Length: 3"), 400],
  ["a length that is none", signIn("{}", json, "Content-Length: two"), 400],
  ["length and chunks", signIn("0\r\n\r\n", json, "Content-Length: 2", "Transfer-Encoding: chunked"), 400],
  ["chunks that are none", signIn("zz\r\n", json, "Transfer-Encoding: chunked"), 0],
  ["an unknown coding", signIn("{}", json, "Transfer-Encoding: gzip"), 0],
  ["no body", signIn("", json, "Content-Length: 0"), 400],
  ["no length", signIn("", json), 400],
  ["half of JSON", signIn("{", json, "Content-Length: 1"), 400],
  ["JSON of another kind", signIn("[1]", json, "Content-Length: 3"), 400],
  ["JSON that is deep", signIn("[".repeat(5000), json, "Content-Length: 5000"), 400],
  ["a body that is no text", signIn("\xff\xfe", json, "Content-Length: 2"), 400],
  ["a type that is none", signIn("{}", "Content-Type: \xff/;;=", "Content-Length: 2"), 0],
  ["a form without a boundary", signIn("{}", "Content-Type: multipart/form-data", "Content-Length: 2"), 0],
  ["a GET with a body", get("/api/auth/ok", "Host: x", json, "Content-Length: 2") + "{}", 200],
];

test.each(requests)("%s is answered, and so is whoever comes next", async (_name, bytes, status) => {
  const answer = await exchange(port, bytes);
  if (status !== 0) expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  if (status === 405) expect(answer).toMatch(/^allow: GET, HEAD, POST, OPTIONS\r$/im);
  expect((await fetch(`http://127.0.0.1:${port}/api/auth/ok`)).status).toBe(200);
});

test.each([
  ["in the middle of its head", "GET /api/auth/ok HTT"],
  ["in the middle of its body", signIn('{"email": "x', json, "Content-Length: 100")],
  ["with many answers to come", ask("GET").repeat(500)],
  ["in a tunnel", "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"],
])("a connection that is reset %s hurts nobody", async (_name, bytes) => {
  await Promise.all(Array.from({ length: 5 }, () => sendAndReset(port, bytes)));
  expect((await fetch(`http://127.0.0.1:${port}/api/auth/ok`)).status).toBe(200);
});

test("a connection that is reset while its password is compared hurts nobody", async () => {
  // Better Auth says this when it has compared, with nobody there to answer.
  const compared = () => said.split("User not found").length;
  const before = compared();
  await vi.waitFor(
    async () => {
      await sendAndReset(port, signIn(guess, json, `Content-Length: ${guess.length}`));
      expect(compared()).toBeGreaterThan(before);
    },
    { timeout: 20_000, interval: 200 },
  );
  expect((await fetch(`http://127.0.0.1:${port}/api/auth/ok`)).status).toBe(200);
});

test("a handler that fails is answered for, and its words stay out of the log", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  const settings = { baseURL: "http://localhost", trustedOrigins: [], trustProxy: false };
  const failing = createServer(requestListener(() => Promise.reject(new TypeError("cannot parse /?token=secret")), settings));
  await new Promise<void>((resolve) => failing.listen(0, "127.0.0.1", resolve));
  try {
    const response = await fetch(`http://127.0.0.1:${(failing.address() as AddressInfo).port}/api/auth/ok`);
    expect(response.status).toBe(500);
    expect(log.mock.calls.flat().join(" ")).toMatch(/TypeError/);
    expect(log.mock.calls.flat().join(" ")).not.toMatch(/secret/);
  } finally {
    failing.close();
  }
});
