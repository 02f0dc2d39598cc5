/** What docs/authentication.md promises to other React code. */
import { renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

const fetched = vi.fn<(url: string | URL) => Promise<Response>>();
beforeEach(() => {
  fetched.mockImplementation(() => Promise.resolve(new Response("{}", { headers: { "content-type": "application/json" } })));
  vi.stubGlobal("fetch", fetched);
});
afterEach(() => vi.unstubAllGlobals());

test("the auth client's exports", async () => {
  const client = await import("../../src/lib/auth-client");
  expect(Object.keys(client).sort()).toEqual(["authClient", "getSession", "signIn", "signOut", "signUp", "useSession"]);
});

test("useAuth's parts", async () => {
  const { useAuth } = await import("../../src/hooks/useAuth");
  const { result } = renderHook(() => useAuth());
  const documented = ["isAuthenticated", "isLoading", "user", "signIn", "signUp", "signOut", "getToken"];
  expect(Object.keys(result.current)).toEqual(expect.arrayContaining(documented));
});

test("signOut can be the handler of a button", async () => {
  const { useAuth } = await import("../../src/hooks/useAuth");
  const { result } = renderHook(() => useAuth());
  const event: Record<string, unknown> = {};
  event["target"] = event;
  await (result.current.signOut as (event: unknown) => Promise<void>)(event);
  expect(fetched.mock.calls.map(([url]) => new URL(url, location.href).pathname)).toContain("/api/auth/sign-out");
});
