import { createServer } from "node:http";
import { toNodeHandler } from "better-auth/node";
import { openAuth } from "./auth.js";

/**
 * Answers `/api/auth/*` and `/healthz`. Pages on trusted origins may call it with credentials.
 * @param {import("./settings.js").Settings} settings
 */
export async function startServer(settings) {
  const auth = await openAuth(settings);
  const handle = toNodeHandler({ handler: auth.handler });
  const origins = new Set(settings.trustedOrigins);

  const server = createServer((request, response) => {
    // Better Auth counts tries per address: only our own proxy may say whose it is.
    if (!settings.trustProxy) request.headers["x-forwarded-for"] = request.socket.remoteAddress ?? "";
    allowOrigin(origins, request, response);
    const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    if (request.method === "OPTIONS") return void response.writeHead(204).end();
    if (path === "/healthz") return void response.writeHead(200, { "content-type": "text/plain" }).end("ok\n");
    if (path.startsWith("/api/auth/")) return void handle(request, response);
    response.writeHead(404).end();
  });
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

/**
 * @param {Set<string>} origins
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 */
function allowOrigin(origins, request, response) {
  response.setHeader("Vary", "Origin");
  const { origin } = request.headers;
  if (origin === undefined || !origins.has(origin)) return;
  response.setHeader("Access-Control-Allow-Origin", origin);
  response.setHeader("Access-Control-Allow-Credentials", "true");
  response.setHeader("Access-Control-Expose-Headers", "X-Retry-After");
  if (request.method !== "OPTIONS") return;
  response.setHeader("Access-Control-Allow-Methods", "GET, POST");
  response.setHeader("Access-Control-Allow-Headers", "Content-Type");
  response.setHeader("Access-Control-Max-Age", "600");
}
