import { createServer } from "node:http";
import { toNodeHandler } from "better-auth/node";
import { openAuth } from "./auth.js";
import { refuseTunnel, requestListener } from "./requests.js";

/** How long a caller may take and how many there may be, in milliseconds and connections. */
export const LIMITS = {
  /** For the head of a request. */
  headersTimeout: 10_000,
  /** For all of a request, its body included; whoever is slower gets 408. */
  requestTimeout: 20_000,
  /** For the next request on an open connection. A proxy must close its idle ones earlier. */
  keepAliveTimeout: 5_000,
  /** Without a byte either way, as with a caller who doesn't read the answer. */
  timeout: 60_000,
  /** How often the timeouts are looked at. */
  connectionsCheckingInterval: 1_000,
  /** Connections at once; any further one is closed at once. */
  maxConnections: 1_000,
};

/**
 * Answers `/api/auth/*` and `/healthz`. Pages on trusted origins may call it with credentials.
 * @param {import("./settings.js").Settings} settings
 * @param {typeof LIMITS} limits
 */
export async function startServer(settings, limits = LIMITS) {
  const auth = await openAuth(settings);
  const listener = requestListener(toNodeHandler(auth.handler), settings);
  const server = createServer(limits, listener);
  server.timeout = limits.timeout;
  server.maxConnections = limits.maxConnections;
  // A caller who asks before sending a body is told to go on only when its length has been looked at.
  server.on("checkContinue", listener);
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
