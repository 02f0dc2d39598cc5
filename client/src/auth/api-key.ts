/** An API key in place of an account. It is kept for this tab only. */
import { config } from "../config";

const STORE = "moshi-api-key";
const listeners = new Set<() => void>();

/** The key that was given; `null` without one, or where this page takes none. */
export function readApiKey(): string | null {
  return config.apiKeys ? sessionStorage.getItem(STORE) : null;
}

/** Takes a key, or forgets it (`null`). */
export function setApiKey(key: string | null): void {
  if (key === null) sessionStorage.removeItem(STORE);
  else sessionStorage.setItem(STORE, key);
  for (const listener of listeners) listener();
}

/** Calls back when the key changes. Returns a function that stops this. */
export function subscribeApiKey(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
