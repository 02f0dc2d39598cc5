/** Keeps a long session signed in: sends a newer token before the one it began with runs out. */
import type { Renewal } from "./credentials";

/** A renewal comes this long before the end, or after three quarters of a short life. */
const MARGIN_SECONDS = 30;
/** Pause after an auth server that gave no answer. */
const RETRY_SECONDS = 5;
/** A timer can wait for about 24 days. Whoever talks longer than this is asked again then. */
const MAX_WAIT_SECONDS = 20 * 24 * 3600;

export class Renewer {
  readonly #renewal: Renewal;
  readonly #send: (token: string) => void;
  #ends: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #stopped = false;

  /** The credential's life starts now. `send` takes the newer token to the server. */
  constructor(renewal: Renewal, send: (token: string) => void) {
    this.#renewal = renewal;
    this.#send = send;
    this.#ends = now() + renewal.seconds;
  }

  /** The session is live: from now on the server can be told. */
  start(): void {
    this.#wait(this.#ends - now());
  }

  /** The server took the token; the session may go on for `seconds`. */
  renewed(seconds: number): void {
    this.#ends = now() + seconds;
    this.#wait(seconds);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #wait(left: number): void {
    this.#after(left - Math.min(MARGIN_SECONDS, left / 4));
  }

  #after(seconds: number): void {
    if (this.#stopped) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    const wait = Math.min(Math.max(seconds, 0), MAX_WAIT_SECONDS);
    this.#timer = setTimeout(() => void this.#renew(), wait * 1000);
  }

  async #renew(): Promise<void> {
    this.#timer = null;
    try {
      const token = await this.#renewal.token();
      // Nobody is signed in any more: the session ends as the server knows.
      if (token !== null && !this.#stopped) this.#send(token);
    } catch {
      // Not answered in time, the session ends and a new connection says why.
      if (now() < this.#ends) this.#after(RETRY_SECONDS);
    }
  }
}

/** Seconds, on a clock that nobody sets. */
function now(): number {
  return performance.now() / 1000;
}

/** Seconds that a JWT is good for from when it was made; `null` if it doesn't say. Both ends are of the issuer's clock. */
export function tokenSeconds(token: string): number | null {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { iat, exp } = JSON.parse(atob(payload)) as { iat?: unknown; exp?: unknown };
    return typeof iat === "number" && typeof exp === "number" && exp > iat ? exp - iat : null;
  } catch {
    return null;
  }
}
