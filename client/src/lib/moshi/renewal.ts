/** Keeps a long session signed in: sends a newer token before the current one expires. */
import type { Renewal } from "./credentials";

/** A renewal starts this long before the token expires, or after three quarters of a short life. */
const MARGIN_SECONDS = 30;
/** Wait before the next try when the auth server gave no answer. */
const RETRY_SECONDS = 5;
/** A timer can wait for about 24 days at most, so a longer wait ends early with a renewal. */
const MAX_WAIT_SECONDS = 20 * 24 * 3600;

export class Renewer {
  readonly #renewal: Renewal;
  readonly #send: (token: string) => void;
  #ends: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #stopped = false;

  /** The credential's life starts now. `send` sends the newer token to the server. */
  constructor(renewal: Renewal, send: (token: string) => void) {
    this.#renewal = renewal;
    this.#send = send;
    this.#ends = now() + renewal.seconds;
  }

  /** Starts renewing: the session is live, and the server reads messages. */
  start(): void {
    this.#wait(this.#ends - now());
  }

  /** Takes note that the server accepted the token: the session may go on for `seconds`. */
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
      // With `null` nobody is signed in any more, and the server ends the session in its own time.
      if (token !== null && !this.#stopped) this.#send(token);
    } catch {
      // Without an answer in time the session ends, and the next connection shows the reason.
      if (now() < this.#ends) this.#after(RETRY_SECONDS);
    }
  }
}

/** Seconds on a monotonic clock. */
function now(): number {
  return performance.now() / 1000;
}

/** Returns the life of a JWT in seconds (`exp - iat`, both by the issuer's clock); `null` if the JWT doesn't state it. */
export function tokenSeconds(token: string): number | null {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const { iat, exp } = JSON.parse(atob(payload)) as { iat?: unknown; exp?: unknown };
    return typeof iat === "number" && typeof exp === "number" && exp > iat ? exp - iat : null;
  } catch {
    return null;
  }
}
