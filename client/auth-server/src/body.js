/** Longest body: what sign-up, the longest form of all, sends is under one kilobyte. */
export const MAX_BODY_BYTES = 64 * 1024;

/** A body longer than `MAX_BODY_BYTES`. */
export class BodyTooLong extends Error {}

/**
 * The whole body as text; `undefined` where there is none. Better Auth would keep it in memory whatever its length.
 * @param {import("node:http").IncomingMessage} request
 * @param {import("node:http").ServerResponse} response
 * @returns {Promise<string | undefined>}
 * @throws {BodyTooLong} as soon as it is known, with the rest unread
 */
export async function readBody(request, response) {
  if (Number(request.headers["content-length"] ?? 0) > MAX_BODY_BYTES) throw new BodyTooLong();
  if (request.headers.expect !== undefined) response.writeContinue();
  /** @type {Buffer[]} */
  const chunks = [];
  let bytes = 0;
  // Ending the loop must leave the socket whole: the refusal goes out by it.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new BodyTooLong();
    chunks.push(chunk);
  }
  return bytes === 0 ? undefined : Buffer.concat(chunks).toString("utf8");
}
