#!/usr/bin/env node
import { readSettings } from "./settings.js";
import { startServer } from "./server.js";

// Work that Better Auth leaves running beside a request fails alone: it must not take the server with it.
process.on("unhandledRejection", (reason) => {
  console.error(`auth server: work beside a request failed (${reason instanceof Error ? reason.name : typeof reason})`);
});

try {
  const settings = readSettings(process.env);
  const { close } = await startServer(settings);
  console.log(`auth server on http://${settings.host}:${settings.port}, pages from ${settings.trustedOrigins.join(", ")}`);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void close().then(() => process.exit(0)));
} catch (error) {
  console.error(`auth server: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
