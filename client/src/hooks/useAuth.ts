import { useMemo, useState, useSyncExternalStore } from "react";
import { readApiKey, setApiKey, subscribeApiKey } from "../auth/api-key";
import { fetchToken } from "../auth/credentials";
import { config } from "../config";
import { authClient, signIn, signUp, useSession } from "../lib/auth-client";

export interface User {
  id: string;
  /** The name of the account, or its e-mail address if it has no name. */
  name: string;
}

export interface Auth {
  isAuthenticated: boolean;
  /** Only before the first answer of the auth server: a later refetch must not unmount a half-filled form. */
  isLoading: boolean;
  user: User | null;
  /** Better Auth's own: `signIn.email({ email, password })` resolves with `{ data, error }`. */
  signIn: typeof signIn;
  /** Better Auth's own: `signUp.email({ name, email, password })` resolves with `{ data, error }`. */
  signUp: typeof signUp;
  /** Signs out, or forgets the API key. */
  signOut: () => Promise<void>;
  /** Fetches a fresh token of 60 seconds for moshi-server. Resolves with `null` if nobody is signed in. */
  getToken: () => Promise<string | null>;
  /** The auth server gave no answer, so it is not known whether anybody is signed in. */
  isUnreachable: boolean;
  /** Uses an API key in place of an account. */
  enterApiKey: (key: string) => void;
  /** After a server refused the credential: asks the auth server who is signed in, and forgets a refused API key. */
  recheck: () => Promise<void>;
}

const KEY_USER: User = { id: "api-key", name: "API key" };

/** Who uses this page, and how they come in and go. */
export function useAuth(): Auth {
  const session = useSession();
  const { refetch } = session;
  const hasKey = useSyncExternalStore(subscribeApiKey, readApiKey) !== null;
  const [answered, setAnswered] = useState(false);
  if (!answered && !session.isPending) setAnswered(true);

  const account = config.accounts ? session.data?.user : undefined;
  const userId = hasKey ? KEY_USER.id : account?.id;
  const userName = hasKey ? KEY_USER.name : account?.name || account?.email;
  const isLoading = config.accounts && !hasKey && !answered;
  const isUnreachable = config.accounts && !account && session.error !== null && session.error.status !== 401;

  return useMemo<Auth>(
    () => ({
      isAuthenticated: userId !== undefined,
      isLoading,
      user: userId === undefined ? null : { id: userId, name: userName ?? "" },
      signIn,
      signUp,
      // Takes no argument, unlike Better Auth's: an event of `onClick={signOut}` would become the request's body.
      signOut: async () => {
        if (hasKey) setApiKey(null);
        else await authClient.signOut();
      },
      getToken: fetchToken,
      isUnreachable,
      enterApiKey: setApiKey,
      recheck: async () => {
        if (hasKey) setApiKey(null);
        else await refetch({ query: { disableCookieCache: true } });
      },
    }),
    [userId, userName, hasKey, isLoading, isUnreachable, refetch],
  );
}
