/** This page's configuration, read once when it starts. */
import { loadConfig } from "./lib/config";

export const config = await loadConfig();
