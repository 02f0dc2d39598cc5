import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["e2e/**/*.e2e.ts"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // A browser, a speech server and an auth server at once are enough for a small machine.
    fileParallelism: false,
    // Browsers, sockets and timers on a busy machine: a second try tells a slow moment from a defect.
    retry: 1,
  },
});
