import { BodyTooLong, MAX_BODY_BYTES, readBody } from "./body.js";

/** What a request must be before Better Auth sees it. Whatever else HTTP can carry is answered here. */

/** Better Auth is never asked by another method, and some cannot even be handed to it: `new Request()` refuses TRACE. */
const METHODS = ["GET", "HEAD", "POST", "OPTIONS"];
const ALLOW = METHODS.join(", ");
/** What a request says about the address that it was sent to. The settings know it; a value that is none breaks `new Request()`. */
const HEARSAY = ["x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "forwarded"];

/**
 * @typedef {import("node:http").IncomingMessage} Request
 * @typedef {import("node:http").ServerResponse} Response
 * @typedef {(request: Request, response: Response) => Promise<void>} Handler
 */

/**
 * The listener for every request: `handle` gets those under `/api/auth/`. It never throws, and no rejection leaves it.
 * @param {Handler} handle
 * @param {Pick<import("./settings.js").Settings, "baseURL" | "trustedOrigins" | "trustProxy">} settings
 * @returns {(request: Request, response: Response) => void}
 */
export function requestListener(handle, settings) {
  const { host } = new URL(settings.baseURL);
  const origins = new Set(settings.trustedOrigins);

  /** @type {Handler} */
  const answer = async (request, response) => {
    allowOrigin(origins, request, response);
    if (!METHODS.includes(request.method ?? "")) return refuse(response, 405, `This server takes ${ALLOW}.`, { allow: ALLOW });
    if (request.method === "OPTIONS") return void response.writeHead(204).end();
    const target = pathOf(request.url ?? "/");
    const [path] = target.split("?", 1);
    if (path === "/healthz") return void response.writeHead(200, { "content-type": "text/plain" }).end("ok\n");
    if (!target.startsWith("/api/auth/")) return void response.writeHead(404).end();
    request.url = target;
    request.headers.host = host;
    for (const name of HEARSAY) delete request.headers[name];
    // Better Auth counts tries per address: only our own proxy may say whose it is.
    if (!settings.trustProxy) request.headers["x-forwarded-for"] = request.socket.remoteAddress ?? "";
    if (request.method === "POST") {
      const body = await readBody(request, response);
      // Where a body has been read already, Better Auth looks for it here.
      Object.assign(request, { body });
    }
    await handle(request, response);
  };
  return (request, response) => {
    // An answer to somebody who has gone: without a listener, Node would end the process for it.
    response.on("error", () => {});
    answer(request, response).catch((error) => {
      if (error instanceof BodyTooLong) return refuseBody(request, response);
      // The caller is gone, or was too slow and has been told so by Node.
      if (request.destroyed && !request.complete) return void response.destroy();
      // Its message may quote the request's address, and with it what nobody may read.
      console.error(`auth server: a request could not be answered (${error instanceof Error ? error.name : typeof error})`);
      if (response.headersSent) response.destroy();
      else refuse(response, 500, "This request could not be answered.");
    });
  };
}

/**
 * @param {Request} request
 * @param {Response} response
 */
function refuseBody(request, response) {
  // What comes of it is thrown away until the request's time is over: a connection closed under a caller who still sends
  // is reset, and the answer lost. A caller who asked before sending won't send, so that connection has no further use.
  request.resume();
  const headers = request.headers.expect === undefined ? {} : { connection: "close" };
  refuse(response, 413, `A request's body may have ${MAX_BODY_BYTES} bytes.`, headers);
}

/**
 * `CONNECT`, which Node hands over as a bare socket without anybody to hear its errors.
 * @param {Request} _request
 * @param {import("node:stream").Duplex} socket
 */
export function refuseTunnel(_request, socket) {
  socket.on("error", () => {});
  const refusal = `HTTP/1.1 405 Method Not Allowed\r\nAllow: ${ALLOW}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
  // None of the server's timeouts is for it any more: a caller who leaves it half open would have it for ever.
  socket.end(refusal, () => socket.destroy());
}

/**
 * Path and query of a request's target, which proxies may write with scheme and host before it (RFC 9112, 3.2.2).
 * @param {string} target
 */
function pathOf(target) {
  return target.replace(/^https?:\/\/[^/?#]*/i, "");
}

/**
 * @param {Response} response
 * @param {number} status
 * @param {string} message
 * @param {import("node:http").OutgoingHttpHeaders} headers
 */
function refuse(response, status, message, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify({ message }));
}

/**
 * @param {Set<string>} origins
 * @param {Request} request
 * @param {Response} response
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
