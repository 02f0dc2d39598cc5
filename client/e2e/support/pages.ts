import { createReadStream, existsSync, statSync } from "node:fs";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { type Handler, json } from "../../test/support/fake-server";

export const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** The built page, with a configuration of its own. */
export function pages(config: object): Handler {
  return (request, response) => {
    const path = new URL(request.url ?? "/", "http://x").pathname;
    if (path === "/config.json") return json(response, config);
    const file = join(DIST, normalize(path === "/" ? "/index.html" : path));
    if (!existsSync(file) || !statSync(file).isFile()) return void response.writeHead(404).end();
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  };
}
