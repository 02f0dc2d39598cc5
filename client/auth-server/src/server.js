import { createServer } from "node:http";
import { toNodeHandler } from "better-auth/node";
import { openAuth } from "./auth.js";
import { refuseTunnel, requestListener } from "./requests.js";

/**
 * Answers `/api/auth/*` and `/healthz`. Pages on trusted origins may call it with credentials.
 * @param {import("./settings.js").Settings} settings
 */
export async function startServer(settings) {
  const auth = await openAuth(settings);
  const server = createServer(requestListener(toNodeHandler(auth.handler), settings));
  server.on("connect", refuseTunnel);
  await /** @type {Promise<void>} */ (
    new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(settings.port, settings.host, resolve);
    })
  );
  const close = async () => {
    server.closeIdleConnections();
    await new Promise((resolve) => server.close(resolve));
    auth.close();
  };
  return { server, close };
}
