import { once } from "node:events";
import { createServer } from "node:net";

/**
 * `preferred` on loopback if nobody listens there, else whichever port is free.
 * @param {number} [preferred]
 * @returns {Promise<number>}
 */
export async function freePort(preferred = 0) {
  const probe = createServer();
  try {
    await once(probe.listen(preferred, "127.0.0.1"), "listening");
  } catch (error) {
    if (preferred === 0) throw error;
    return freePort();
  }
  const { port } = /** @type {import("node:net").AddressInfo} */ (probe.address());
  await once(probe.close(), "close");
  return port;
}
