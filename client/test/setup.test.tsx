/** What `setup.ts` promises to every test of this folder. */
import { render } from "@testing-library/react";
import { createAuthClient } from "better-auth/react";
import { promisify } from "node:util";
import { afterAll, expect, test, vi } from "vitest";

const left: NodeJS.Timeout[] = [];
// Node's own mark of a timer that won't fire; waiting whether it does would be a matter of time.
const running = () => left.filter((timer) => !(timer as unknown as { _destroyed: boolean })._destroyed);
afterAll(() => expect(running(), "timers that outlived their test").toEqual([]));

test("a timer that a test leaves behind is stopped", () => {
  left.push(setTimeout(() => {}, 3_600_000), setInterval(() => {}, 3_600_000));
  expect(running().length).toBeGreaterThanOrEqual(2);
});

test("a timer that a library sets when a page ends is stopped as well", () => {
  vi.stubGlobal("fetch", () => new Promise(() => {}));
  const client = createAuthClient({ baseURL: "http://auth.test" });
  const Page = () => <p>{String(client.useSession().isPending)}</p>;
  const page = render(<Page />);
  const set = vi.spyOn(globalThis, "setTimeout");
  page.unmount();
  vi.unstubAllGlobals();
  for (const { value } of set.mock.results) left.push(value as NodeJS.Timeout);
  expect(running().length).toBeGreaterThanOrEqual(1);
});

test("timers keep what Node has on them", async () => {
  await promisify(setTimeout)(1);
  expect(setTimeout.name).toBe("setTimeout");
});
