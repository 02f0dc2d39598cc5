/** Where things are. Read once at start from `/config.json`, which whoever serves the page may write. */

export interface AppConfig {
  /** Origin of the auth server. */
  authUrl: string;
  /** Where the server offers each kind of stream. */
  endpoints: { transcribe: URL };
  /** Whether people have accounts here. Without, an API key is the only way in. */
  accounts: boolean;
  /** Whether an API key may be used in place of an account. */
  apiKeys: boolean;
  /** Whether the server exchanges an API key for a ticket. Kyutai's own doesn't, and a page puts the key into its URL. */
  tickets: boolean;
  /** What to say to this server, for a page without captions; "" for nothing. */
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
  // Cookies are bound to the host's name: a page on 127.0.0.1 must ask the auth server there, not on localhost.
  if (/^:\d+$/.test(value)) return new URL(`${page.protocol}//${page.hostname}${value}`).origin;
  return new URL(value, page).origin;
}

export async function loadConfig(): Promise<AppConfig> {
  const page = new URL(window.location.href);
  const response = await fetch("/config.json", { cache: "no-store" }).catch(() => null);
  // A server may answer an unknown path with the page itself; that is no configuration either.
  const isJson = response?.ok && response.headers.get("content-type")?.includes("json");
  return resolveConfig(isJson ? ((await response.json()) as ConfigFile) : {}, page);
}
