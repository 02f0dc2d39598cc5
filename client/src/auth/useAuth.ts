import { createContext, use } from "react";
import type { CredentialProvider } from "../lib/moshi";
import type { AuthFailure } from "./errors";

export interface User {
  id: string;
  name: string;
}

export interface Auth {
  isAuthenticated: boolean;
  /** Only before the first answer: a later refetch must not unmount a half-filled form. */
  isLoading: boolean;
  user: User | null;
  /** The auth server gave no answer, so whether anybody is signed in is not known. */
  isUnreachable: boolean;
  signIn(input: { email: string; password: string; rememberMe: boolean }): Promise<AuthFailure | null>;
  signUp(input: { name: string; email: string; password: string }): Promise<AuthFailure | null>;
  /** In place of an account, where the deployment has none. */
  useApiKey(key: string): void;
  signOut(): Promise<void>;
  /** A server has refused what we have: asks the auth server who is signed in, and forgets a refused API key. */
  recheck(): Promise<void>;
  /** A fresh 60-second token for moshi-server; `null` when nobody is signed in. */
  getToken(): Promise<string | null>;
  /** What the next connection proves itself with. */
  credentials: CredentialProvider;
}

export const AuthContext = createContext<Auth | null>(null);

export function useAuth(): Auth {
  const auth = use(AuthContext);
  if (!auth) throw new Error("useAuth outside of AuthProvider");
  return auth;
}
