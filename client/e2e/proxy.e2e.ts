/** The proxy files of the documentation, each under the real proxy: one origin, one cookie, one WebSocket. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http, { type IncomingHttpHeaders, type RequestOptions } from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { freePort } from "../demo/port.js";
import { FakeServer, json, PATH } from "../test/support/fake-server";
import { startAuth } from "./support/auth";
import { launch, signUp, visit } from "./support/browser";
import { pages } from "./support/pages";

const FILES = fileURLToPath(new URL("../../configs/proxy", import.meta.url));
const which = (name: string) => ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map((folder) => join(folder, name)).find(existsSync);
const caddy = which("caddy");
const nginx = which("nginx");

let folder: string;
let worker: FakeServer;
let auth: Awaited<ReturnType<typeof startAuth>>;
let proxy: ChildProcess | null = null;
let port: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "moshi-proxy-"));
  port = await freePort();
  worker = await FakeServer.start();
  worker.fallback = pages({});
  worker.authStatus = 401;
});
afterEach(async () => {
  const stopped = proxy && new Promise((resolve) => proxy?.once("exit", resolve));
  proxy?.kill("SIGTERM");
  await stopped;
  proxy = null;
  await worker.stop();
  await auth.stop();
  rmSync(folder, { recursive: true });
});

async function untilUp(url: string): Promise<void> {
  for (let tries = 0; tries < 300; tries++) {
    if (await statusOf(url).catch(() => 0)) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${url} does not answer`);
}

/** From sign-up to a word, all of it through the proxy. */
async function walkThrough(origin: string): Promise<void> {
  const browser = await launch();
  try {
    const page = await visit(browser, origin, { ignoreHTTPSErrors: true });
    const refused: string[] = [];
    page.on("console", (message) => message.text().includes("Content Security Policy") && refused.push(message.text()));
    await signUp(page);
    await page.getByRole("button", { name: "Start" }).click();
    const connection = await worker.connection();
    await page.getByText("Listening", { exact: true }).waitFor();
    connection.say("through", 0.1, 0.4);
    await page.getByText("through").waitFor();
    const { headers } = connection.request;
    expect(headers.cookie).toMatch(/better-auth\.session_data=eyJ/);
    expect(headers.origin).toBe(origin);
    expect(headers.host).toBe(new URL(origin).host);
    await connection.until(() => connection.ogg.length > 10);
    expect(refused).toEqual([]);

    // The worker's own routes that look like the auth server's, and a body that is sent on as it is.
    const check = await page.request.get(`${origin}/api/auth-check`);
    expect(check.status()).toBe(401);
    worker.routes.set(`POST ${PATH}`, (request, response) => {
      let bytes = 0;
      const from = request.headers["x-forwarded-for"];
      request.on("data", (chunk: Buffer) => (bytes += chunk.length)).on("end", () => json(response, { bytes, from }));
    });
    const posted = await page.request.post(`${origin}${PATH}?auth_id=secret-ticket`, {
      data: Buffer.alloc(3_000_000),
      headers: { "x-forwarded-for": "203.0.113.9" },
    });
    expect(await posted.json()).toEqual({ bytes: 3_000_000, from: expect.stringMatching(/^(127\.0\.0\.1|::1)$/) as unknown });
  } finally {
    await browser.close();
  }
}

/** The status of an answer, from a proxy with a certificate of its own making. */
function statusOf(url: string, { body, ...options }: RequestOptions & { body?: Buffer } = {}): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = (url.startsWith("https:") ? https : http).request(url, { rejectUnauthorized: false, ...options });
    request.on("response", (response) => resolve(response.resume().statusCode ?? 0)).on("error", reject).end(body);
  });
}

/** Asks for speech with a credential in each place there is, as is done all the time, also while the worker restarts. */
async function presentCredentials(origin: string): Promise<number[]> {
  const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==" };
  const headers = {
    "kyutai-api-key": "secret-key",
    authorization: "Bearer secret-token",
    cookie: "__Secure-better-auth.session_data=secret-cookie",
    referer: `${origin}/?auth_id=secret-referrer`,
  };
  return [
    await statusOf(`${origin}${PATH}?auth_id=secret-ticket`, { headers: { ...headers, ...upgrade, "sec-websocket-protocol": "moshi, bearer.secret-protocol" } }),
    await statusOf(`${origin}${PATH}?format=ogg&auth%5Fid=secret-ticket`, { headers, method: "POST" }),
  ];
}

/** Bodies for the auth server, of a length that is said and of one that is not. */
async function postTooMuch(origin: string): Promise<number[]> {
  const url = `${origin}/api/auth/sign-in/email`;
  const options = { method: "POST", body: Buffer.alloc(70_000) };
  return [
    await statusOf(url, { ...options, headers: { "content-length": options.body.length } }),
    await statusOf(url, { ...options, headers: { "transfer-encoding": "chunked" } }),
  ];
}

describe.runIf(caddy)("Caddy", () => {
  let origin: string;
  let log: string;
  beforeEach(async () => {
    origin = `http://localhost:${port}`;
    auth = await startAuth([origin]);
    log = "";
    proxy = spawn(caddy!, ["run", "--config", join(FILES, "Caddyfile"), "--adapter", "caddyfile"], {
      env: {
        ...process.env,
        HOME: folder,
        XDG_DATA_HOME: folder,
        XDG_CONFIG_HOME: folder,
        CADDY_ADMIN: "unix//" + join(folder, "admin"),
        MOSHI_SITE: origin,
        MOSHI_WORKER: `127.0.0.1:${worker.port}`,
        MOSHI_AUTH: `127.0.0.1:${auth.port}`,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    proxy.stderr?.on("data", (data: Buffer) => (log += data.toString()));
    await untilUp(`${origin}/api/auth-check`);
  });

  test("from sign-up to words, and no credential in its log", async () => {
    await walkThrough(origin);
    expect(log).toContain(PATH);
    expect(log).not.toMatch(/secret-|session_data|session_token/);
  });

  test("no credential in its log while the worker is down", async () => {
    await worker.stop();
    expect(await presentCredentials(origin)).toEqual([502, 502]);
    await vi.waitFor(() => expect(log.match(/http\.log\.error/g)).toHaveLength(2));
    expect(log).toContain("connection refused");
    expect(log).not.toMatch(/secret-/);
  });

  test("a body that is too long for the auth server is told so", async () => {
    expect(await postTooMuch(origin)).toEqual([413, 413]);
  });
});

describe.runIf(nginx)("nginx", () => {
  let origin: string;
  /** All that it has written: what it was asked for, and its troubles. */
  const log = () => ["access.log", "error.log", "start.log"].map((name) => readFileSync(join(folder, name), "utf8")).join("");
  beforeEach(async () => {
    origin = `https://localhost:${port}`;
    auth = await startAuth([origin]);
    const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"], { stdio: "ignore" });
    const text = readFileSync(join(FILES, "nginx.conf"), "utf8")
      .replace(/listen 80;/, `listen 127.0.0.1:${await freePort()};`)
      .replace(/listen 443 ssl/, `listen 127.0.0.1:${port} ssl`)
      .replaceAll("captions.example.com;", "localhost;")
      .replace(/ssl_certificate .*;/, `ssl_certificate ${certificate};`)
      .replace(/ssl_certificate_key .*;/, `ssl_certificate_key ${key};`)
      .replace("127.0.0.1:8080", `127.0.0.1:${worker.port}`)
      .replace("127.0.0.1:3000", `127.0.0.1:${auth.port}`)
      .replace("/var/log/nginx/moshi.log", join(folder, "access.log"))
      .replace("/var/log/nginx/moshi-error.log", join(folder, "error.log"));
    const file = join(folder, "nginx.conf");
    // The log of its start is the distribution's, with its level.
    writeFileSync(file, `user root;\npid ${join(folder, "pid")};\nerror_log ${join(folder, "start.log")};\n${text}`);
    proxy = spawn(nginx!, ["-c", file, "-g", "daemon off;"], { stdio: "ignore" });
    await untilUp(`${origin}/api/auth-check`);
  });

  test("from sign-up to words, and no credential in its log", async () => {
    await walkThrough(origin);
    expect(log()).toContain(PATH);
    expect(log()).not.toMatch(/secret-|eyJ/);
  });

  test("no credential in its log while the worker is down, but that it is", async () => {
    await worker.stop();
    expect(await presentCredentials(origin)).toEqual([502, 502]);
    await vi.waitFor(() => expect(log()).toContain(`POST ${PATH}" 502`));
    expect(log()).toContain(`upstream 127.0.0.1:${worker.port} 502`);
    expect(log()).not.toMatch(/secret-/);
  });

  test("a body that is too long for the auth server is told so", async () => {
    expect(await postTooMuch(origin)).toEqual([413, 413]);
  });

  test("browsers that were here once come by https alone", async () => {
    const headers = await new Promise<IncomingHttpHeaders>((resolve) => {
      https.get(origin, { rejectUnauthorized: false }, (response) => resolve(response.resume().headers));
    });
    expect(headers["strict-transport-security"]).toBe("max-age=31536000");
  });
});
