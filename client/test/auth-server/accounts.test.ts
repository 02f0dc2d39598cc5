// @vitest-environment node
import { createHmac } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readSettings } from "../../auth-server/src/settings.js";
import { base, cookies, eachWithFolder, folder, PAGE, post, SECRET, start, stop, ZOE } from "../support/auth-server";

eachWithFolder();

/** Claims of a JWT, after checking its HS256 signature as the speech server does. */
function verified(token: string): Record<string, unknown> {
  const [header, payload, signature] = token.split(".") as [string, string, string];
  expect(createHmac("sha256", SECRET).update(`${header}.${payload}`).digest("base64url")).toBe(signature);
  expect(JSON.parse(Buffer.from(header, "base64url").toString())).toEqual({ alg: "HS256" });
  return JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
}

describe("accounts", () => {
  test("a new one is signed in, with a cookie that is a JWT of five minutes", async () => {
    await start();
    const response = await post("sign-up/email", ZOE);
    expect(response.status).toBe(200);
    const jwt = /better-auth\.session_data=([^;]+)/.exec(cookies(response))?.[1] ?? "";
    const claims = verified(jwt);
    expect(claims).toMatchObject({ user: { name: "Zoë" } });
    expect(Number(claims["exp"]) - Number(claims["iat"])).toBe(300);
  });

  test("live on after a restart", async () => {
    await start();
    await post("sign-up/email", ZOE);
    await stop();
    await start();
    expect((await post("sign-in/email", ZOE)).status).toBe(200);
    expect((await post("sign-in/email", { ...ZOE, password: "wrong horse" })).status).toBe(401);
  });
});

describe("moshi-token", () => {
  test("is flat, of a minute, and tells no more than it must", async () => {
    await start();
    const signUp = await post("sign-up/email", ZOE);
    const response = await fetch(`${base}/api/auth/moshi-token`, { headers: { cookie: cookies(signUp) } });
    expect(response.headers.get("cache-control")).toBe("no-store");
    const { token, expires_in } = (await response.json()) as { token: string; expires_in: number };
    const claims = verified(token);
    expect(Object.keys(claims).sort()).toEqual(
      ["aud", "createdAt", "exp", "expiresAt", "iat", "id", "ipAddress", "updatedAt", "userAgent", "userId"],
    );
    expect(claims["aud"]).toBe("moshi-server");
    expect(Number(claims["exp"]) - Number(claims["iat"])).toBe(60);
    expect(expires_in).toBe(60);
    // Seconds, in the future, of the session that Better Auth holds.
    expect(Number(claims["expiresAt"])).toBeGreaterThan(Number(claims["exp"]));
    expect(Number(claims["expiresAt"])).toBeLessThan(1e11);
  });

  test("needs a session", async () => {
    await start();
    expect((await fetch(`${base}/api/auth/moshi-token`)).status).toBe(401);
  });

  test("is no more minted after sign-out, though copied cookies still verify", async () => {
    await start();
    const copied = cookies(await post("sign-up/email", ZOE));
    const mint = () => fetch(`${base}/api/auth/moshi-token`, { headers: { cookie: copied } });
    expect((await mint()).status).toBe(200);
    await post("sign-out", {}, { cookie: copied });
    const refused = await mint();
    expect(refused.status).toBe(401);
    expect(await refused.text()).not.toContain("eyJ");
  });
});

describe("pages on other ports", () => {
  test("may call with credentials when trusted", async () => {
    await start();
    const preflight = await fetch(`${base}/api/auth/sign-in/email`, {
      method: "OPTIONS",
      headers: { origin: PAGE, "access-control-request-method": "POST" },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get("access-control-allow-origin")).toBe(PAGE);
    expect(preflight.headers.get("access-control-allow-credentials")).toBe("true");
    expect(preflight.headers.get("access-control-allow-headers")).toBe("Content-Type");
  });

  test("get nothing otherwise", async () => {
    await start();
    const response = await post("sign-up/email", ZOE, { origin: "http://evil.test" });
    expect(response.status).toBe(403);
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  });
});

test("passwords can't be guessed fast, whatever address the caller claims", async () => {
  await start({ AUTH_RATE_LIMIT: "on" });
  const statuses: number[] = [];
  for (let i = 0; i < 4; i++) {
    statuses.push((await post("sign-in/email", ZOE, { "x-forwarded-for": `192.0.2.${i}` })).status);
  }
  expect(statuses).toEqual([401, 401, 401, 429]);
});

test("behind a proxy of ours each caller has their own count", async () => {
  await start({ AUTH_TRUST_PROXY: "1", AUTH_RATE_LIMIT: "on" });
  for (let i = 0; i < 4; i++) {
    expect((await post("sign-in/email", ZOE, { "x-forwarded-for": `192.0.2.${i}` })).status).toBe(401);
  }
});

describe("the secret", () => {
  test("is made once, for its owner's eyes only", () => {
    const file = join(folder, "keys", "secret");
    const env = { BETTER_AUTH_SECRET_FILE: file };
    const { secret } = readSettings(env);
    expect(secret.length).toBeGreaterThanOrEqual(43);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, "utf8").trim()).toBe(secret);
    expect(readSettings(env).secret).toBe(secret);
  });

  test("is refused when short", () => {
    expect(() => readSettings({ BETTER_AUTH_SECRET: "short" })).toThrow("at least 32");
  });
});

test("a port that is none is told", () => {
  expect(() => readSettings({ BETTER_AUTH_SECRET: SECRET, AUTH_PORT: "http" })).toThrow("AUTH_PORT");
});

test.each(["captions.example.com", "ftp://captions.example.com", "https://captions.example.com/sub", "https://x:99999"])("an address that is no origin is told: %s", (url) => {
  expect(() => readSettings({ BETTER_AUTH_SECRET: SECRET, BETTER_AUTH_URL: url })).toThrow("BETTER_AUTH_URL must be an origin");
});
