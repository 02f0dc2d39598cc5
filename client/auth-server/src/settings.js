/** Everything the auth server is told by its environment. */
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/**
 * @typedef {object} Settings
 * @property {string} host
 * @property {number} port
 * @property {string} baseURL Public origin of this server, as browsers see it.
 * @property {string} secret Shared with moshi-server.
 * @property {string} database Path of the SQLite file.
 * @property {string[]} trustedOrigins Origins of pages that may sign people in.
 * @property {boolean} trustProxy Whether `X-Forwarded-For` comes from a proxy of ours.
 * @property {boolean} signUp Whether strangers may make accounts.
 * @property {boolean} rateLimit
 * @property {number} cookieSeconds Life of the cookie that moshi-server reads.
 * @property {number} tokenSeconds Life of a minted token.
 */

/**
 * @param {NodeJS.ProcessEnv} env
 * @returns {Settings}
 */
export function readSettings(env) {
  const port = number(env, "AUTH_PORT", 3000);
  return {
    host: env.AUTH_HOST ?? "127.0.0.1",
    port,
    baseURL: readOrigin(env.BETTER_AUTH_URL ?? `http://localhost:${port}`),
    secret: readSecret(env),
    database: env.AUTH_DATABASE ?? "data/auth.sqlite",
    trustedOrigins: (env.AUTH_TRUSTED_ORIGINS ?? "http://localhost:8080,http://127.0.0.1:8080,http://localhost:5173")
      .split(",")
      .map((origin) => origin.trim())
      .filter(Boolean),
    trustProxy: env.AUTH_TRUST_PROXY === "1",
    signUp: isOn(env, "AUTH_SIGN_UP"),
    rateLimit: isOn(env, "AUTH_RATE_LIMIT"),
    cookieSeconds: number(env, "AUTH_COOKIE_SECONDS", 300),
    tokenSeconds: number(env, "AUTH_TOKEN_SECONDS", 60),
  };
}

/**
 * `BETTER_AUTH_URL` without a slash at its end. Every request is taken for one to this host.
 * @param {string} value
 */
function readOrigin(value) {
  const url = URL.canParse(value) ? new URL(value) : null;
  if (url?.host && /^https?:$/.test(url.protocol) && url.pathname === "/") return url.origin;
  throw new Error(`BETTER_AUTH_URL must be an origin such as https://captions.example.com, not "${value}"`);
}

/**
 * `BETTER_AUTH_SECRET`, or else the file `BETTER_AUTH_SECRET_FILE`, which is made on first use, readable by its owner alone.
 * @param {NodeJS.ProcessEnv} env
 */
function readSecret(env) {
  const file = env.BETTER_AUTH_SECRET_FILE ?? "data/secret";
  const secret = env.BETTER_AUTH_SECRET ?? readOrCreate(file);
  if (Buffer.byteLength(secret) < 32) {
    throw new Error("BETTER_AUTH_SECRET needs at least 32 characters. Make one with: openssl rand -base64 32");
  }
  return secret;
}

/**
 * The secret in `file`, made on first use.
 * @param {string} file
 */
export function readOrCreate(file) {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ENOENT") throw error;
  }
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const secret = randomBytes(32).toString("base64url");
  // `wx`: of two servers that start at once, one fails instead of each having a secret of its own.
  writeFileSync(file, `${secret}\n`, { mode: 0o600, flag: "wx" });
  chmodSync(file, 0o600);
  return secret;
}

/**
 * @param {NodeJS.ProcessEnv} env
 * @param {string} name
 * @param {number} fallback
 */
function number(env, name, fallback) {
  const value = Number(env[name] ?? fallback);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not "${env[name]}"`);
  return value;
}

/**
 * On unless it is said to be `off`. Another word could mean either, so it is refused.
 * @param {NodeJS.ProcessEnv} env
 * @param {string} name
 */
function isOn(env, name) {
  const value = env[name] ?? "on";
  if (value !== "on" && value !== "off") throw new Error(`${name} must be "on" or "off", not "${value}"`);
  return value === "on";
}
