import { createHash } from "node:crypto";
import { APIError, createAuthMiddleware, getIP } from "better-auth/api";

/** Wrong passwords for one account before it has to wait. */
export const GUESSES = 10;
/** How long they count, from the first of them. */
export const WINDOW_SECONDS = 600;
/** Counts and known addresses that are kept; beyond, the oldest are dropped. */
const MAX_ENTRIES = 50_000;

/**
 * Counts wrong passwords for an account from all addresses together: Better Auth counts for each address alone, and
 * whoever guesses may have many. Addresses from which the account has been signed in have a count of their own each, so
 * that a stranger's guesses don't keep its owner out. Accounts that don't exist are counted alike. Everything is held in
 * memory, as digests, and lost at a restart.
 */
export class GuessCounter {
  /** @type {Map<string, { guesses: number, until: number }>} In the order of their ends. */
  #counts = new Map();
  /** @type {Set<string>} */
  #known = new Set();
  #now;
  #max;

  /**
   * @param {() => number} now Milliseconds.
   * @param {number} max
   */
  constructor(now = Date.now, max = MAX_ENTRIES) {
    this.#now = now;
    this.#max = max;
  }

  /**
   * Counts a guess before it is looked at, so that many at once cannot pass together. Seconds to wait when there were
   * too many, else 0.
   * @param {string} email
   * @param {string} address
   */
  begin(email, address) {
    const key = this.#key(email, address);
    const now = this.#now();
    let count = this.#counts.get(key);
    if (count === undefined || now >= count.until) {
      this.#counts.delete(key);
      for (const [oldest, { until }] of this.#counts) {
        if (now < until && this.#counts.size < this.#max) break;
        this.#counts.delete(oldest);
      }
      count = { guesses: 0, until: now + WINDOW_SECONDS * 1000 };
      this.#counts.set(key, count);
    }
    if (count.guesses >= GUESSES) return Math.ceil((count.until - now) / 1000);
    count.guesses++;
    return 0;
  }

  /**
   * The password was right, or is a new account's.
   * @param {string} email
   * @param {string} address
   */
  succeed(email, address) {
    const count = this.#counts.get(this.#key(email, address));
    // Only its own: whoever guesses meanwhile gets no new tries by it.
    if (count !== undefined && count.guesses > 0) count.guesses--;
    const place = digest(email, address);
    this.#known.delete(place);
    for (const oldest of this.#known) {
      if (this.#known.size < this.#max) break;
      this.#known.delete(oldest);
    }
    this.#known.add(place);
  }

  /**
   * @param {string} email
   * @param {string} address
   */
  #key(email, address) {
    const place = digest(email, address);
    return this.#known.has(place) ? place : digest(email);
  }
}

/**
 * Applies a `GuessCounter` to signing in. The answer is the same whether there is such an account or not.
 * @param {GuessCounter} counter
 */
export function guessLimit(counter) {
  /** @param {{ body?: any, headers?: Headers | undefined, context: { options: import("better-auth").BetterAuthOptions } }} ctx */
  const whoAndWhere = ({ body, headers, context }) => {
    // A body of another kind is refused by the endpoint.
    const email = typeof body?.email === "string" ? body.email.toLowerCase() : null;
    return { email, address: (headers && getIP(headers, context.options)) ?? "" };
  };
  return /** @satisfies {import("better-auth").BetterAuthPlugin} */ ({
    id: "guess-limit",
    hooks: {
      before: [
        {
          matcher: ({ path }) => path === "/sign-in/email",
          handler: createAuthMiddleware(async (ctx) => {
            const { email, address } = whoAndWhere(ctx);
            const wait = email === null ? 0 : counter.begin(email, address);
            if (wait === 0) return;
            throw new APIError("TOO_MANY_REQUESTS", { message: "Too many requests. Please try again later." }, { "X-Retry-After": String(wait) });
          }),
        },
      ],
      after: [
        {
          matcher: ({ path }) => path === "/sign-in/email" || path === "/sign-up/email",
          handler: createAuthMiddleware(async (ctx) => {
            const { email, address } = whoAndWhere(ctx);
            if (email !== null && ctx.context.newSession) counter.succeed(email, address);
          }),
        },
      ],
    },
  });
}

/** @param {string[]} parts */
function digest(...parts) {
  return createHash("sha256").update(parts.join("\0")).digest("base64url");
}
