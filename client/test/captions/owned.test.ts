import { expect, test, vi } from "vitest";
import { OwnedSession } from "../../src/captions/owned";
import type { CaptionSession } from "../../src/captions/session";

function make() {
  const made: { dispose: ReturnType<typeof vi.fn> }[] = [];
  const owned = new OwnedSession(() => {
    const session = { dispose: vi.fn() };
    made.push(session);
    return session as unknown as CaptionSession;
  });
  return { owned, made };
}

test("the same person finds their captions again", () => {
  const { owned, made } = make();
  owned.giveTo("zoe");
  owned.giveTo("zoe");
  expect(owned.current).toEqual({ owner: "zoe", session: made[0] });
  expect(made).toHaveLength(1);
  expect(made[0]?.dispose).not.toHaveBeenCalled();
});

test("another person gets a session of their own, and the first one ends", () => {
  const { owned, made } = make();
  owned.giveTo("zoe");
  owned.giveTo("ada");
  expect(owned.current).toEqual({ owner: "ada", session: made[1] });
  expect(made[0]?.dispose).toHaveBeenCalledOnce();
});

test("a sign-out ends the session and tells whoever shows it", () => {
  const { owned, made } = make();
  owned.giveTo("zoe");
  const listener = vi.fn();
  const unsubscribe = owned.subscribe(listener);
  owned.clear();
  expect(owned.current).toBeNull();
  expect(made[0]?.dispose).toHaveBeenCalledOnce();
  expect(listener).toHaveBeenCalledOnce();
  unsubscribe();
  owned.giveTo("ada");
  expect(listener).toHaveBeenCalledOnce();
});
