/** Where the servers are. Read once at start from `/config.json`, which is written by whoever serves the page. */

export interface AppConfig {
  /** Origin of the auth server. */
  authUrl: string;
  /** Where the server offers each kind of stream. */
  endpoints: { transcribe: URL };
  /** Whether people have accounts here. If not, an API key is the only way to sign in. */
  accounts: boolean;
  /** Whether an API key may be used in place of an account. */
  apiKeys: boolean;
  /** Whether the server exchanges an API key for a ticket. Kyutai's own doesn't: the page then puts the key into the URL. */
  tickets: boolean;
  /** A suggestion of what to say, shown while there are no captions; "" for none. */
  hint: string;
}

export interface ConfigFile {
  /** `https://auth.example`, or `:3000` for another port of the page's own host. Default: the page's origin. */
  authUrl?: string;
  /** Origin of moshi-server, in the same notation. Default: the page's origin. */
  serverUrl?: string;
  /** Paths on moshi-server, or whole URLs. */
  endpoints?: { transcribe?: string };
  accounts?: boolean;
  apiKeys?: boolean;
  tickets?: boolean;
  hint?: string;
}

export function resolveConfig(file: ConfigFile, page: URL): AppConfig {
  const accounts = file.accounts ?? true;
  const server = resolveOrigin(file.serverUrl, page);
  return {
    authUrl: resolveOrigin(file.authUrl ?? import.meta.env.VITE_AUTH_URL, page),
    endpoints: { transcribe: new URL(file.endpoints?.transcribe ?? "/api/asr-streaming", server) },
    accounts,
    apiKeys: file.apiKeys ?? !accounts,
    tickets: file.tickets ?? true,
    hint: file.hint ?? "",
  };
}

function resolveOrigin(value: string | undefined, page: URL): string {
  if (!value) return page.origin;
  // Cookies belong to a host name: a page on 127.0.0.1 must use the auth server there, not the one on localhost.
  if (/^:\d+$/.test(value)) return new URL(`${page.protocol}//${page.hostname}${value}`).origin;
  return new URL(value, page).origin;
}

export async function loadConfig(): Promise<AppConfig> {
  const page = new URL(window.location.href);
  const response = await fetch("/config.json", { cache: "no-store" }).catch(() => null);
  // A server may answer an unknown path with the page itself, which is not a configuration.
  const isJson = response?.ok && response.headers.get("content-type")?.includes("json");
  return resolveConfig(isJson ? ((await response.json()) as ConfigFile) : {}, page);
}
