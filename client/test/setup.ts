import { cleanup, configure } from "@testing-library/react";
import { afterEach, vi } from "vitest";
import { clearTimers, watchTimers } from "./support/timers";

// A busy machine is no fault: what is waited for has as long as the test (`testTimeout`) allows, in place of one second.
const PATIENCE_MS = 20_000;
configure({ asyncUtilTimeout: PATIENCE_MS });
const { waitFor } = vi;
vi.waitFor = (callback, options) => waitFor(callback, { timeout: PATIENCE_MS, ...(typeof options === "number" ? { timeout: options } : options) });

// After the imports: React keeps the timers that it finds, and needs them from one test to the next.
watchTimers();

/** Nothing outlives its test: a timer that fires after the page was torn down fails the run, though each test has passed. */
afterEach(async () => {
  if (typeof document !== "undefined") cleanup();
  clearTimers();
  // What React still has to do for the page that was there.
  await new Promise(setImmediate);
});
