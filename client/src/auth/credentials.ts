import type { AuthClient } from "../lib/auth-client";
import type { AppConfig } from "../lib/config";
import { type CredentialProvider, MoshiError, type Renewal, tokenSeconds } from "../lib/moshi";

/** What Better Auth's session cookie is good for, unless its owner says otherwise; the page cannot read it. */
const COOKIE_SECONDS = 300;
/** A token that doesn't say. */
const TOKEN_SECONDS = 60;

/** A fresh token of the auth server's `moshi-token` route. `null`: nobody is signed in. Rejects when unreachable. */
export async function fetchToken(authUrl: string): Promise<string | null> {
  const response = await fetch(new URL("/api/auth/moshi-token", authUrl), { credentials: "include", cache: "no-store" });
  if (response.status === 401) return null;
  const body: unknown = await response.json();
  if (response.ok && typeof body === "object" && body !== null && "token" in body && typeof body.token === "string") {
    return body.token;
  }
  throw new MoshiError("protocol", `the auth server's token could not be read (status ${response.status})`);
}

/**
 * The credential for the next connection: an API key if one was given, the session cookie on the auth server's own
 * host (cookies know no ports), a minted token elsewhere. Either is renewed by a minted token.
 */
export function credentialProvider(config: AppConfig, client: AuthClient, apiKey: string | null): CredentialProvider {
  const sameHost = new URL(config.authUrl).hostname === config.endpoints.transcribe.hostname;
  const renewal = (seconds: number): Renewal => ({ seconds, token: () => fetchToken(config.authUrl) });
  return async () => {
    if (apiKey !== null) return { via: "key", key: apiKey, tickets: config.tickets };
    if (!config.accounts) return { via: "cookie" };
    try {
      if (!sameHost) {
        const token = await fetchToken(config.authUrl);
        if (token === null) throw signedOut();
        return { via: "token", token, renewal: renewal(tokenSeconds(token) ?? TOKEN_SECONDS) };
      }
      // The cookie that the server reads lives 5 minutes and isn't renewed by itself: only this call re-issues it.
      const { data, error } = await client.getSession({ query: { disableCookieCache: true } });
      if (data === null && (error === null || error.status === 401)) throw signedOut();
      return { via: "cookie", renewal: renewal(COOKIE_SECONDS) };
    } catch (error) {
      if (error instanceof MoshiError) throw error;
      throw new MoshiError("unreachable", "the sign-in server can't be reached");
    }
  };
}

function signedOut(): MoshiError {
  return new MoshiError("unauthenticated", "nobody is signed in");
}
