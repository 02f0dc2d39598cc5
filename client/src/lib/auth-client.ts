import { createAuthClient } from "better-auth/react";

/** `baseURL`: origin of the auth server; its routes are under `/api/auth`. */
export function makeAuthClient(baseURL: string) {
  return createAuthClient({ baseURL });
}

export type AuthClient = ReturnType<typeof makeAuthClient>;
