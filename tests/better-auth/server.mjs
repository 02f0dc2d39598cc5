// A real Better Auth server on loopback, with SQLite. Its settings come as JSON in the first argument; it prints its address.
import { createServer } from "node:http";
import { betterAuth } from "better-auth";
import { createAuthEndpoint, sensitiveSessionMiddleware } from "better-auth/api";
import { signJWT } from "better-auth/crypto";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import { bearer, jwt } from "better-auth/plugins";
import { SqliteDialect } from "kysely";
import Database from "libsql";

const settings = JSON.parse(process.argv[2]);
const server = createServer();
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const address = `http://127.0.0.1:${server.address().port}`;
const baseURL = settings.baseURL ?? address;

// The endpoint that docs/authentication.md tells the auth server's owner to add.
const moshiToken = () => ({
  id: "moshi-token",
  endpoints: {
    moshiToken: createAuthEndpoint("/moshi-token", { method: "GET", use: [sensitiveSessionMiddleware] }, async (ctx) => {
      const { session } = ctx.context.session;
      const token = await signJWT(
        { id: session.id, userId: session.userId, expiresAt: session.expiresAt, aud: "moshi-server" },
        ctx.context.secret,
        60,
      );
      ctx.setHeader("cache-control", "no-store");
      return ctx.json({ token });
    }),
  },
});

const auth = betterAuth({
  baseURL,
  secret: settings.secret,
  secrets: settings.secrets,
  trustedOrigins: [baseURL],
  database: { dialect: new SqliteDialect({ database: new Database(settings.database) }), type: "sqlite", transaction: true },
  emailAndPassword: { enabled: true },
  user: { additionalFields: { bio: { type: "string", required: false } } },
  session: {
    expiresIn: settings.sessionLife,
    cookieCache: { enabled: true, maxAge: settings.cookieSeconds ?? 300, strategy: settings.strategy, version: settings.version },
  },
  advanced: { cookiePrefix: settings.cookiePrefix },
  plugins: [moshiToken(), bearer(), ...(settings.jwt ? [jwt(settings.jwt)] : [])],
  rateLimit: { enabled: false },
});
const { runMigrations } = await getMigrations(auth.options);
await runMigrations();
server.on("request", toNodeHandler(auth));
console.log(address);
