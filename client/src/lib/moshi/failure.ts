/** Reasons for the failure of a stream or a request, and whether trying again can help. */

export type FailureKind =
  | "unauthenticated"
  | "forbidden"
  | "full"
  | "draining"
  | "engine"
  | "unreachable"
  | "too-large"
  | "policy"
  | "protocol"
  | "no-tickets";

const RETRYABLE: ReadonlySet<FailureKind> = new Set(["full", "draining", "engine", "unreachable"]);

export class MoshiError extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
    /** Seconds to wait before the next try, as the server asked; `null` if it did not. */
    readonly retryAfter: number | null = null,
  ) {
    super(message);
    this.name = "MoshiError";
  }

  get retryable(): boolean {
    return RETRYABLE.has(this.kind);
  }
}

const CLOSE_CODES: Record<number, FailureKind> = {
  1001: "draining",
  1002: "protocol",
  1003: "protocol",
  1007: "protocol",
  1008: "policy",
  1009: "too-large",
  1011: "engine",
  1012: "draining",
  1013: "full",
  4401: "unauthenticated",
  4403: "forbidden",
};

/** Returns the failure that a WebSocket close code stands for. A normal close (1000) that we did not ask for is one too. */
export function failureFromClose(code: number, reason: string): MoshiError {
  const kind = CLOSE_CODES[code] ?? "unreachable";
  return new MoshiError(kind, reason || `connection closed with code ${code}`);
}

export function failureFromStatus(status: number, retryAfter: string | null): MoshiError | null {
  if (status < 400) return null;
  const wait = retryAfter !== null && /^\d+$/.test(retryAfter) ? Number(retryAfter) : null;
  const kind: FailureKind =
    status === 401 ? "unauthenticated"
    : status === 403 ? "forbidden"
    : status === 413 ? "too-large"
    : status === 429 ? "policy"
    : status === 503 ? "full"
    : status >= 500 ? "engine"
    : "protocol";
  return new MoshiError(kind, `the server answered ${status}`, wait);
}

/** Returns the failure of an `Error` message: the classic protocol reports a full server by one, not by a close code. */
export function failureFromMessage(message: string): MoshiError {
  return new MoshiError(/no free channels/i.test(message) ? "full" : "engine", message);
}
