/** Better Auth's client for the auth server of this page's configuration. */
import { createAuthClient } from "better-auth/react";
import { config } from "../config";

export const authClient = createAuthClient({ baseURL: config.authUrl });
export const { signIn, signUp, signOut, useSession, getSession } = authClient;
