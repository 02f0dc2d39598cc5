import { cleanup } from "@testing-library/react";
import { afterEach } from "vitest";
import { clearTimers, watchTimers } from "./support/timers";

// After the imports: React keeps the timers that it finds, and needs them from one test to the next.
watchTimers();

/** Nothing outlives its test: a timer that fires after the page was torn down fails the run, though each test has passed. */
afterEach(async () => {
  if (typeof document !== "undefined") cleanup();
  clearTimers();
  // What React still has to do for the page that was there.
  await new Promise(setImmediate);
});
