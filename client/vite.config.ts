import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// In development the page, the worker and the auth server still look like one origin to the browser.
const worker = process.env.MOSHI_URL ?? "http://localhost:8080";
const auth = process.env.MOSHI_AUTH_URL ?? "http://localhost:3000";

export default defineConfig({
  plugins: [react()],
  server: {
    proxy: {
      "/api/auth/": { target: auth, changeOrigin: false },
      "/api": { target: worker, ws: true, changeOrigin: false },
    },
  },
  build: { target: "es2022", sourcemap: true },
  test: {
    environment: "jsdom",
    include: ["test/**/*.test.{ts,tsx}"],
    setupFiles: ["test/setup.ts"],
    restoreMocks: true,
    // Real sockets and a real database on a machine that may be busy with other things.
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
