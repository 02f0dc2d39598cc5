/** The auth server in this process, on a database of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { type LIMITS, startServer } from "../../auth-server/src/server.js";
import { readSettings } from "../../auth-server/src/settings.js";

export const PAGE = "http://localhost:8080";
export const SECRET = "an-example-secret-of-more-than-32-bytes";
export const ZOE = { name: "Zoë", email: "zoe@example.test", password: "correct horse" };

let running: Awaited<ReturnType<typeof startServer>> | null = null;
/** For files of this test alone; the database is among them. */
export let folder: string;
/** Where the server is. */
export let base: string;
export let port: number;

/** Gives each test of the file a folder, and stops its server after it. */
export function eachWithFolder(): void {
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "moshi-auth-"));
  });
  afterEach(async () => {
    await stop();
    rmSync(folder, { recursive: true });
  });
}

export async function start(env: Record<string, string> = {}, limits?: typeof LIMITS): Promise<void> {
  const settings = readSettings({ BETTER_AUTH_SECRET: SECRET, AUTH_DATABASE: join(folder, "auth.sqlite"), AUTH_PORT: "0", AUTH_RATE_LIMIT: "off", ...env });
  running = await startServer(settings, limits);
  ({ port } = running.server.address() as AddressInfo);
  base = `http://127.0.0.1:${port}`;
}

/** How many are connected to the server. */
export function connections(): Promise<number> {
  return new Promise((resolve) => (running ? running.server.getConnections((_error, count) => resolve(count)) : resolve(0)));
}

export async function stop(): Promise<void> {
  running?.server.closeAllConnections();
  await running?.close();
  running = null;
}

export function post(path: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${base}/api/auth/${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", origin: PAGE, ...headers },
    body: JSON.stringify(body),
  });
}

/** The cookies that an answer sets, as the next request sends them. */
export const cookies = (response: Response) => response.headers.getSetCookie().map((cookie) => cookie.split(";", 1)[0]).join("; ");
