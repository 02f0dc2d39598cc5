// @vitest-environment-options {"url": "http://page.test:8080/"}
import { render, screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type ConfigFile, resolveConfig } from "../../src/lib/config";

const PAGE = new URL("http://page.test:8080/");
const USER = { id: "u1", name: "Zoë", email: "zoe@example.test" };
const SESSION = { session: { id: "s1", userId: "u1", token: "t", expiresAt: "2030-01-01T00:00:00.000Z" }, user: USER };

type Answer = { status?: number; body?: unknown; headers?: Record<string, string> } | "down";

/** The auth server's answers by `METHOD path`, and what it was asked. */
let answers: Record<string, Answer>;
let asked: { key: string; url: URL; body: unknown; credentials: string | undefined }[];

beforeEach(() => {
  asked = [];
  answers = { "GET get-session": { body: null } };
  vi.stubGlobal("fetch", (input: string | URL | Request, init: RequestInit = {}) => {
    const url = new URL(input instanceof Request ? input.url : input, PAGE);
    const key = `${init.method ?? "GET"} ${url.pathname.replace("/api/auth/", "")}`;
    asked.push({ key, url, body: typeof init.body === "string" ? JSON.parse(init.body) : undefined, credentials: init.credentials });
    const answer = answers[key] ?? { status: 404 };
    if (answer === "down") return Promise.reject(new TypeError("fetch failed"));
    const headers = { "content-type": "application/json", ...answer.headers };
    return Promise.resolve(new Response(JSON.stringify(answer.body ?? null), { status: answer.status ?? 200, headers }));
  });
});
afterEach(() => {
  vi.unstubAllGlobals();
  sessionStorage.clear();
});

type UseAuth = (typeof import("../../src/hooks/useAuth"))["useAuth"];
let auth: ReturnType<UseAuth>;

/** A page with this configuration: its modules are made anew, as they read it once. */
async function open(file: ConfigFile = {}) {
  vi.resetModules();
  answers["GET /config.json"] = { body: file };
  const { config } = await import("../../src/config");
  const { useAuth } = await import("../../src/hooks/useAuth");
  const { SignInPage } = await import("../../src/ui/SignInPage");
  const { credentials } = await import("../../src/auth/credentials");
  function Probe() {
    auth = useAuth();
    if (auth.isLoading) return <p>loading</p>;
    return auth.user ? <p>hello {auth.user.name}</p> : <SignInPage accounts={config.accounts} apiKeys={config.apiKeys} resuming={false} />;
  }
  render(<Probe />);
  await waitFor(() => expect(screen.queryByText("loading")).toBeNull());
  return { user: userEvent.setup(), credentials };
}

async function fillIn(user: ReturnType<typeof userEvent.setup>) {
  await user.type(screen.getByLabelText("E-mail"), "zoe@example.test");
  await user.type(screen.getByLabelText("Password"), "correct horse");
}

describe("signing in", () => {
  test("brings the user in, with what the form held", async () => {
    const { user } = await open();
    answers["POST sign-in/email"] = { body: { token: "t", user: USER } };
    answers["GET get-session"] = { body: SESSION };
    await fillIn(user);
    await user.click(screen.getByLabelText(/Stay signed in/));
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    await screen.findByText("hello Zoë");
    expect(asked.find(({ key }) => key === "POST sign-in/email")).toMatchObject({
      body: { email: "zoe@example.test", password: "correct horse", rememberMe: false },
      credentials: "include",
    });
  });

  test.each([
    ["INVALID_EMAIL_OR_PASSWORD", 401, "don’t match"],
    ["EMAIL_NOT_VERIFIED", 403, "Confirm your e-mail"],
    ["INVALID_ORIGIN", 403, "trusted origins"],
    [undefined, 500, "reported an error"],
  ])("refused with %s keeps the form and moves the focus to the reason", async (code, status, words) => {
    const { user } = await open();
    answers["POST sign-in/email"] = { status, body: code ? { code, message: "raw" } : {} };
    await fillIn(user);
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    const alert = await screen.findByRole("alert");
    expect(alert.textContent).toContain(words);
    await waitFor(() => expect(document.activeElement).toBe(alert));
    expect(screen.getByLabelText<HTMLInputElement>("E-mail").value).toBe("zoe@example.test");
    expect(screen.getByLabelText<HTMLInputElement>("Password").value).toBe("correct horse");
  });

  test("too often waits as long as the server says", async () => {
    const { user } = await open();
    answers["POST sign-in/email"] = { status: 429, body: {}, headers: { "x-retry-after": "7" } };
    await fillIn(user);
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    const button = await screen.findByRole<HTMLButtonElement>("button", { name: "Wait 7 s" });
    expect(button.disabled).toBe(true);
  });

  test("with the server down says so", async () => {
    const { user } = await open();
    answers["POST sign-in/email"] = "down";
    await fillIn(user);
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    expect((await screen.findByRole("alert")).textContent).toContain("can’t be reached");
  });

  test("a reachable page but no session server is told before any try", async () => {
    answers["GET get-session"] = "down";
    await open();
    expect(screen.getByRole("status").textContent).toContain("can’t be reached");
  });
});

test("signing up keeps the e-mail address already typed", async () => {
  const { user } = await open();
  await user.type(screen.getByLabelText("E-mail"), "zoe@example.test");
  await user.click(screen.getByRole("button", { name: "Create an account" }));
  expect(screen.getByLabelText("Password").getAttribute("autocomplete")).toBe("new-password");
  await user.type(screen.getByLabelText("Name"), "Zoë");
  await user.type(screen.getByLabelText("Password"), "correct horse");
  answers["POST sign-up/email"] = { body: { token: "t", user: USER } };
  answers["GET get-session"] = { body: SESSION };
  const form = screen.getByRole("main");
  await user.click(within(form).getByRole("button", { name: "Create an account" }));
  await screen.findByText("hello Zoë");
  expect(asked.find(({ key }) => key === "POST sign-up/email")?.body).toMatchObject({ name: "Zoë", email: "zoe@example.test" });
});

test("signing up where registration is closed says so, and whom to ask", async () => {
  const { user } = await open();
  await user.click(screen.getByRole("button", { name: "Create an account" }));
  await user.type(screen.getByLabelText("Name"), "Zoë");
  await fillIn(user);
  answers["POST sign-up/email"] = { status: 400, body: { code: "EMAIL_PASSWORD_SIGN_UP_DISABLED", message: "raw" } };
  await user.click(within(screen.getByRole("main")).getByRole("button", { name: "Create an account" }));
  const alert = await screen.findByRole("alert");
  expect(alert.textContent).toContain("can’t create an account");
  expect(alert.textContent).toContain("Ask the server’s administrator");
});

test("the password can be shown", async () => {
  const { user } = await open();
  const field = screen.getByLabelText("Password");
  await user.click(screen.getByRole("button", { name: "Show password" }));
  expect(field.getAttribute("type")).toBe("text");
});

describe("signed in", () => {
  beforeEach(() => {
    answers["GET get-session"] = { body: SESSION };
  });

  test("signing out leads back to the form", async () => {
    await open();
    await screen.findByText("hello Zoë");
    answers["POST sign-out"] = { body: { success: true } };
    answers["GET get-session"] = { body: null };
    await auth.signOut();
    await screen.findByRole("heading", { name: "Sign in" });
  });

  test("a session that ended elsewhere is noticed when asked again", async () => {
    await open();
    answers["GET get-session"] = { body: null };
    await auth.recheck();
    await screen.findByRole("heading", { name: "Sign in" });
  });

  test("on one host the cookie is used, and renewed just before", async () => {
    const { credentials } = await open({ authUrl: ":3000" });
    asked.length = 0;
    answers["GET moshi-token"] = { body: { token: "a.b.c" } };
    const credential = await credentials({ refresh: false });
    expect(credential).toMatchObject({ via: "cookie", renewal: { seconds: 300 } });
    expect(asked).toMatchObject([{ key: "GET get-session" }]);
    expect(asked[0]?.url.port).toBe("3000");
    expect(asked[0]?.url.searchParams.get("disableCookieCache")).toBe("true");
    // A running session can be shown no cookie.
    expect(credential.via === "cookie" && (await credential.renewal?.token())).toBe("a.b.c");
  });

  test("for a server elsewhere a token is minted each time, and renewed in its own time", async () => {
    const token = `e30.${btoa(JSON.stringify({ iat: 1000, exp: 1090 })).replaceAll("=", "")}.sig`;
    answers["GET moshi-token"] = { body: { token, expires_in: 90 } };
    const { credentials } = await open({ serverUrl: "https://speech.example" });
    expect(await credentials({ refresh: false })).toMatchObject({ via: "token", token, renewal: { seconds: 90 } });
    answers["GET moshi-token"] = { body: { token: "a.b.c", expires_in: 60 } };
    expect(await auth.getToken()).toBe("a.b.c");
    expect(asked.filter(({ key }) => key === "GET moshi-token").length).toBe(2);
  });

  test("an ended session is told from an unreachable server", async () => {
    const { credentials } = await open();
    answers["GET get-session"] = { body: null };
    await expect(credentials({ refresh: true })).rejects.toMatchObject({ kind: "unauthenticated" });
    answers["GET get-session"] = "down";
    await expect(credentials({ refresh: true })).rejects.toMatchObject({ kind: "unreachable" });
  });

  test("no session, no token", async () => {
    answers["GET moshi-token"] = { status: 401 };
    const { credentials } = await open({ serverUrl: "https://speech.example" });
    expect(await auth.getToken()).toBeNull();
    await expect(credentials({ refresh: false })).rejects.toMatchObject({ kind: "unauthenticated" });
  });
});

test("a deployment without accounts takes an API key, kept for the tab", async () => {
  const { user, credentials } = await open({ accounts: false });
  await user.type(screen.getByLabelText("API key"), " secret-key ");
  await user.click(screen.getByRole("button", { name: "Continue" }));
  await screen.findByText("hello API key");
  expect(await credentials({ refresh: false })).toEqual({ via: "key", key: "secret-key", tickets: true });
  await auth.signOut();
  await screen.findByLabelText("API key");
  expect(sessionStorage.length).toBe(0);
});

describe("configuration", () => {
  const resolve = (file: ConfigFile, page = PAGE) => {
    const { endpoints, ...rest } = resolveConfig(file, page);
    return { ...rest, transcribe: endpoints.transcribe.href };
  };

  test("is one origin by default", () => {
    expect(resolve({})).toEqual({
      authUrl: "http://page.test:8080",
      transcribe: "http://page.test:8080/api/asr-streaming",
      accounts: true,
      apiKeys: false,
      tickets: true,
      hint: "",
    });
  });

  test("a bare port means the page's own host, whatever it was opened by", () => {
    expect(resolve({ authUrl: ":3000" }, new URL("http://127.0.0.1:8080/")).authUrl).toBe("http://127.0.0.1:3000");
  });

  test("other hosts and paths", () => {
    expect(resolve({ authUrl: "https://auth.test/", serverUrl: "https://speech.test", endpoints: { transcribe: "/api/stt" }, accounts: false, tickets: false })).toEqual({
      authUrl: "https://auth.test",
      transcribe: "https://speech.test/api/stt",
      accounts: false,
      apiKeys: true,
      tickets: false,
      hint: "",
    });
  });
});
