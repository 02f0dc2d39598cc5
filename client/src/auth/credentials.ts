import { config } from "../config";
import { getSession } from "../lib/auth-client";
import { type CredentialProvider, MoshiError, type Renewal, tokenSeconds } from "../lib/moshi";
import { readApiKey } from "./api-key";

/** Life of Better Auth's session cookie by default. The page can't read the cookie. */
const COOKIE_SECONDS = 300;
/** Life of a token that doesn't state it. */
const TOKEN_SECONDS = 60;

/**
 * Fetches a fresh token from the auth server's `moshi-token` route. Resolves with `null` if nobody is signed in; rejects
 * if the auth server can't be reached.
 */
export async function fetchToken(): Promise<string | null> {
  const response = await fetch(new URL("/api/auth/moshi-token", config.authUrl), { credentials: "include", cache: "no-store" });
  if (response.status === 401) return null;
  const body: unknown = await response.json();
  if (response.ok && typeof body === "object" && body !== null && "token" in body && typeof body.token === "string") {
    return body.token;
  }
  throw new MoshiError("protocol", `the auth server's token could not be read (status ${response.status})`);
}

/**
 * The credential for the next connection: an API key if one was given, the session cookie if the server is on the auth
 * server's host (cookies ignore ports), a minted token otherwise. Cookie and token are renewed by a minted token.
 */
export const credentials: CredentialProvider = async () => {
  const key = readApiKey();
  if (key !== null) return { via: "key", key, tickets: config.tickets };
  if (!config.accounts) return { via: "cookie" };
  const sameHost = new URL(config.authUrl).hostname === config.endpoints.transcribe.hostname;
  try {
    if (!sameHost) {
      const token = await fetchToken();
      if (token === null) throw signedOut();
      return { via: "token", token, renewal: renewal(tokenSeconds(token) ?? TOKEN_SECONDS) };
    }
    // The cookie that the server reads lives 5 minutes and isn't renewed by itself: only this call issues it again.
    const { data, error } = await getSession({ query: { disableCookieCache: true } });
    if (data === null && (error === null || error.status === 401)) throw signedOut();
    return { via: "cookie", renewal: renewal(COOKIE_SECONDS) };
  } catch (error) {
    if (error instanceof MoshiError) throw error;
    throw new MoshiError("unreachable", "the sign-in server can't be reached");
  }
};

function renewal(seconds: number): Renewal {
  return { seconds, token: fetchToken };
}

function signedOut(): MoshiError {
  return new MoshiError("unauthenticated", "nobody is signed in");
}
