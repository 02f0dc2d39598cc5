/** How a client proves who it is, on WebSockets (where a page can't set headers) and on HTTP requests. */
import { failureFromStatus, MoshiError } from "./failure";

export type Credential =
  /** The session cookie, which the browser attaches by itself on the same host. */
  | { via: "cookie"; renewal?: Renewal }
  /** A short-lived JWT minted by the auth server. Travels in `Sec-WebSocket-Protocol`, never in the URL. */
  | { via: "token"; token: string; renewal?: Renewal }
  /**
   * An API key. It is exchanged for a single-use ticket, so that the key itself is not in a URL either. `tickets: false`
   * is for a server without tickets (Kyutai's own), to which a page can send the key only in the URL.
   */
  | { via: "key"; key: string; tickets?: boolean };

/** How a session outlives its first credential. Harmless on a server that doesn't end sessions with their credential. */
export interface Renewal {
  /** Seconds from now for which the credential is valid. */
  seconds: number;
  /** Fetches a newer token of the same person; `null` if nobody is signed in. Rejects if the auth server gives no answer. */
  token: () => Promise<string | null>;
}

/** Called right before every connection. `refresh`: the last credential was refused, so a new one is needed. */
export type CredentialProvider = (request: { refresh: boolean }) => Promise<Credential>;

export interface SocketAddress {
  url: URL;
  protocols: string[];
}

/** Returns the part of a `RequestInit` that carries the credential. */
export function requestInit(credential: Credential): { headers: Record<string, string>; credentials: RequestCredentials } {
  switch (credential.via) {
    case "cookie":
      return { headers: {}, credentials: "include" };
    case "token":
      return { headers: { Authorization: `Bearer ${credential.token}` }, credentials: "omit" };
    case "key":
      return { headers: { "kyutai-api-key": credential.key }, credentials: "omit" };
  }
}

/** Adds the credential to a WebSocket URL. May ask the server for a ticket. */
export async function socketAddress(http: URL, credential: Credential): Promise<SocketAddress> {
  const url = new URL(http);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  switch (credential.via) {
    case "cookie":
      return { url, protocols: [] };
    case "token":
      return { url, protocols: ["moshi", `bearer.${credential.token}`] };
    case "key":
      url.searchParams.set("auth_id", credential.tickets === false ? credential.key : await needTicket(http, credential));
      return { url, protocols: [] };
  }
}

/** Fails without a ticket: a missing route may be a proxy's mistake, and the key itself would end up in access logs. */
async function needTicket(http: URL, credential: Credential): Promise<string> {
  const ticket = await fetchTicket(http, credential);
  if (ticket !== null) return ticket;
  throw new MoshiError("no-tickets", "the server issued no ticket for the API key: its proxy must pass on /api/ws-ticket");
}

/** Fetches a single-use ticket for `auth_id`; `null` if the server has none. Rejects if the credential is refused. */
export async function fetchTicket(http: URL, credential: Credential): Promise<string | null> {
  let response: Response;
  try {
    response = await fetch(new URL("/api/ws-ticket", http), { method: "POST", ...requestInit(credential) });
  } catch {
    throw new MoshiError("unreachable", "the server can't be reached");
  }
  if (response.status === 404 || response.status === 405) return null;
  const failure = failureFromStatus(response.status, response.headers.get("retry-after"));
  if (failure) throw failure;
  const body: unknown = await response.json().catch(() => null);
  if (typeof body === "object" && body !== null && "ticket" in body && typeof body.ticket === "string") return body.ticket;
  throw new MoshiError("protocol", "the server's ticket could not be read");
}
