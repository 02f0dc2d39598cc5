import { chmodSync, mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { SqliteDialect } from "kysely";
import Database from "libsql";
import { GuessCounter, guessLimit } from "./guesses.js";
import { moshiToken } from "./moshi-token.js";

/**
 * Better Auth on a SQLite file, its tables brought up to date.
 * @param {import("./settings.js").Settings} settings
 */
export async function openAuth(settings) {
  mkdirSync(dirname(settings.database), { recursive: true, mode: 0o700 });
  const database = new Database(settings.database);
  chmodSync(settings.database, 0o600);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000;");

  const auth = betterAuth({
    appName: "moshi",
    baseURL: settings.baseURL,
    secret: settings.secret,
    // libsql has the interface of better-sqlite3, and its binaries come inside its npm packages.
    database: { dialect: new SqliteDialect({ database }), type: "sqlite", transaction: true },
    trustedOrigins: settings.trustedOrigins,
    emailAndPassword: { enabled: true, disableSignUp: !settings.signUp },
    session: {
      // moshi-server checks this cookie without asking here; the default strategy isn't a JWT.
      cookieCache: { enabled: true, strategy: "jwt", maxAge: settings.cookieSeconds },
    },
    rateLimit: {
      enabled: settings.rateLimit,
      // Sign-up tells whether an address has an account: not to whoever has a list of them.
      customRules: { "/sign-up/email": { window: 600, max: 10 } },
    },
    advanced: {
      ipAddress: { ipAddressHeaders: ["x-forwarded-for"] },
      // Said, because Better Auth switches it off under test runners.
      disableOriginCheck: false,
    },
    telemetry: { enabled: false },
    plugins: [moshiToken(settings.tokenSeconds), ...(settings.rateLimit ? [guessLimit(new GuessCounter())] : [])],
  });
  const { runMigrations } = await getMigrations(auth.options);
  await runMigrations();
  return { handler: auth.handler, close: () => database.close() };
}
