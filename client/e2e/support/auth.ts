import { mkdtempSync, rmSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startServer } from "../../auth-server/src/server.js";
import { readSettings } from "../../auth-server/src/settings.js";

export const SECRET = "an-example-secret-of-more-than-32-bytes";

/** The real auth server, on a database of its own. */
export async function startAuth(pageOrigins: string[], env: Record<string, string> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "moshi-e2e-"));
  const settings = readSettings({
    BETTER_AUTH_SECRET: SECRET,
    AUTH_DATABASE: join(folder, "auth.sqlite"),
    AUTH_PORT: "0",
    AUTH_RATE_LIMIT: "off",
    AUTH_TRUSTED_ORIGINS: pageOrigins.join(","),
    ...env,
  });
  const running = await startServer(settings);
  return {
    port: (running.server.address() as AddressInfo).port,
    stop: async () => {
      running.server.closeAllConnections();
      await running.close();
      rmSync(folder, { recursive: true });
    },
  };
}
