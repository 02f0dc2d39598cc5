import { type ReactNode, useMemo, useState } from "react";
import type { AuthClient } from "../lib/auth-client";
import type { AppConfig } from "../lib/config";
import { credentialProvider, fetchToken } from "./credentials";
import { authFailure, type AuthFailure, UNREACHABLE } from "./errors";
import { type Auth, AuthContext, type User } from "./useAuth";

const KEY_STORE = "moshi-api-key";
const KEY_USER: User = { id: "api-key", name: "API key" };

export function AuthProvider({ config, client, children }: { config: AppConfig; client: AuthClient; children: ReactNode }) {
  const session = client.useSession();
  const { refetch } = session;
  // For this tab only, and gone with it.
  const [apiKey, setApiKey] = useState(() => (config.apiKeys ? sessionStorage.getItem(KEY_STORE) : null));
  const [answered, setAnswered] = useState(false);
  if (!answered && !session.isPending) setAnswered(true);

  const account = config.accounts ? session.data?.user : undefined;
  const userId = apiKey !== null ? KEY_USER.id : account?.id;
  const userName = apiKey !== null ? KEY_USER.name : account?.name || account?.email;
  const isUnreachable = config.accounts && !account && session.error !== null && session.error.status !== 401;

  const auth = useMemo<Auth>(() => {
    const forgetKey = () => {
      sessionStorage.removeItem(KEY_STORE);
      setApiKey(null);
    };
    return {
      isAuthenticated: userId !== undefined,
      isLoading: config.accounts && apiKey === null && !answered,
      user: userId !== undefined ? { id: userId, name: userName ?? "" } : null,
      isUnreachable,
      signIn: (input) => attempt((fetchOptions) => client.signIn.email({ ...input, fetchOptions })),
      signUp: (input) => attempt((fetchOptions) => client.signUp.email({ ...input, fetchOptions })),
      useApiKey: (key) => {
        sessionStorage.setItem(KEY_STORE, key);
        setApiKey(key);
      },
      signOut: async () => {
        if (apiKey === null) await client.signOut();
        else forgetKey();
      },
      recheck: async () => {
        if (apiKey === null) await refetch({ query: { disableCookieCache: true } });
        else forgetKey();
      },
      getToken: () => fetchToken(config.authUrl),
      credentials: credentialProvider(config, client, apiKey),
    };
  }, [config, client, apiKey, answered, userId, userName, isUnreachable, refetch]);
  return <AuthContext value={auth}>{children}</AuthContext>;
}

interface FetchOptions {
  onError: (context: { response: Response }) => void;
}

type Answer = { error: { code?: string | undefined; message?: string | undefined; status: number } | null };

/** Better Auth answers a refusal as a value, a network failure as a rejection, and a rate limit in a header. */
async function attempt(call: (options: FetchOptions) => Promise<Answer>): Promise<AuthFailure | null> {
  let retryAfter: number | null = null;
  try {
    const { error } = await call({
      onError: ({ response }) => {
        const wait = Number(response.headers.get("x-retry-after") ?? NaN);
        retryAfter = Number.isFinite(wait) ? wait : null;
      },
    });
    return error && authFailure(error, retryAfter);
  } catch {
    return UNREACHABLE;
  }
}
