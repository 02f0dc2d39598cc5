/**
 * The whole product on this machine: auth server, worker and page, with a secret of their own made on first start.
 * Speaks a sample to the worker, shows what it hears, and stays up. `scripts/demo` builds what is needed and runs this.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startServer } from "../auth-server/src/server.js";
import { readOrCreate, readSettings } from "../auth-server/src/settings.js";
import { freePort } from "./port.js";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SAMPLE = "models/stt-demo/samples/demo.wav";
// Whoever says something else would take the small vocabulary for a fault.
const HINT = "This small demonstration model knows numbers, dates, times and commands. Try “set the alarm for quarter past six”.";
const START_SECONDS = 120;
const USAGE = `usage: scripts/demo [--port PORT] [--exit]

  --port PORT  of the page (8080, or another one if that is taken)
  --exit       stop after the sample; fails when no words were heard

MOSHI_DATA     where accounts and keys are kept (~/.local/share/moshi)
MOSHI_SERVER   a moshi-server that is built already`;

/** @typedef {{ page: number, auth: number, admin: number }} Ports */

/** @param {string | undefined} page */
async function choosePorts(page) {
  return { page: page === undefined ? await freePort(8080) : Number(page), auth: await freePort(3000), admin: await freePort(9464) };
}

/**
 * @param {string} data
 * @param {Ports} ports
 */
function authSettings(data, ports) {
  return readSettings({
    AUTH_DATABASE: join(data, "auth.sqlite"),
    AUTH_PORT: String(ports.auth),
    AUTH_TRUSTED_ORIGINS: `http://localhost:${ports.page},http://127.0.0.1:${ports.page}`,
    BETTER_AUTH_SECRET_FILE: join(data, "secret"),
  });
}

/**
 * Writes the page with its own `config.json`, and the configuration of a worker that serves it.
 * @param {string} folder
 * @param {Ports} ports
 */
function writeConfiguration(folder, ports) {
  const page = join(folder, "page");
  cpSync(join(ROOT, "client/dist"), page, { recursive: true });
  // On one host cookies go to every port, so the page needs to know only the auth server's.
  writeFileSync(join(page, "config.json"), JSON.stringify({ authUrl: `:${ports.auth}`, hint: HINT }));
  const bundled = readFileSync(join(ROOT, "configs/config-stt-demo.toml"), "utf8");
  const file = join(folder, "config.toml");
  writeFileSync(file, `static_dir = ${JSON.stringify(page)}\n${bundled}\n[server]\nadmin_addr = "127.0.0.1:${ports.admin}"\n`);
  return file;
}

/**
 * @param {import("node:child_process").ChildProcess} worker
 * @param {number} port
 */
async function untilReady(worker, port) {
  for (const end = Date.now() + START_SECONDS * 1000; Date.now() < end; await sleep(100)) {
    // Asked first: another server on the same port would answer in place of one that could not start.
    if (worker.exitCode !== null) throw new Error("the worker did not start; what it wrote above says why");
    if (await fetch(`http://127.0.0.1:${port}/readyz`).then((answer) => answer.ok, () => false)) return;
  }
  throw new Error(`the worker was not ready after ${START_SECONDS} s`);
}

/**
 * Speaks the sample in real time, with captions on the terminal. True when words were heard.
 * @param {string} server
 * @param {number} port
 * @param {NodeJS.ProcessEnv} env
 */
async function speakSample(server, port, env) {
  console.error(`The server is ready. Speaking ${SAMPLE} to it, in real time:\n`);
  const args = ["transcribe", "--url", `ws://127.0.0.1:${port}`, "--rtf", "1", SAMPLE];
  const client = spawn(server, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "inherit"] });
  let heard = "";
  client.stdout.setEncoding("utf8").on("data", (text) => (heard += text));
  const [code] = await once(client, "close");
  return code === 0 && heard.trim() !== "";
}

/**
 * @param {string} server
 * @param {{ port?: string | undefined, exit?: boolean | undefined }} options
 */
async function demo(server, options) {
  const data = process.env.MOSHI_DATA ?? join(process.env.XDG_DATA_HOME ?? join(homedir(), ".local/share"), "moshi");
  const ports = await choosePorts(options.port);
  const settings = authSettings(data, ports);
  const keyFile = join(data, "api-key");
  const env = { ...process.env, BETTER_AUTH_SECRET: settings.secret, MOSHI_API_KEY: readOrCreate(keyFile) };
  const auth = await startServer(settings);
  const folder = mkdtempSync(join(tmpdir(), "moshi-demo-"));
  const args = ["worker", "--config", writeConfiguration(folder, ports), "--addr", "127.0.0.1", "--port", String(ports.page), "--log", "warn"];
  const worker = spawn(server, args, { cwd: ROOT, env, stdio: "inherit" });
  const ended = once(worker, "exit");
  let interrupted = false;
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.on(signal, () => {
      interrupted = true;
      worker.kill("SIGTERM");
    });
  }
  try {
    await untilReady(worker, ports.page);
    const heard = await speakSample(server, ports.page, env);
    if (!heard && !interrupted) throw new Error("the server heard no words");
    if (options.exit) worker.kill("SIGTERM");
    else if (!interrupted) {
      console.log(`
  Page     http://localhost:${ports.page}    make an account, press Start and speak
  Shell    MOSHI_API_KEY=$(cat ${keyFile}) ${server} transcribe --url ws://localhost:${ports.page} FILE
  Metrics  http://localhost:${ports.admin}/metrics

Stop it with Ctrl-C.`);
    }
    const [code] = await ended;
    if (code !== 0) throw new Error(`the worker ended with ${code}`);
  } catch (error) {
    if (!interrupted) throw error;
  } finally {
    if (worker.exitCode === null && worker.signalCode === null) {
      worker.kill("SIGKILL");
      await ended;
    }
    auth.server.closeAllConnections();
    await auth.close();
    rmSync(folder, { recursive: true });
  }
}

try {
  const { values } = parseArgs({
    options: { port: { type: "string", short: "p" }, exit: { type: "boolean" }, help: { type: "boolean", short: "h" } },
  });
  if (values.help) console.log(USAGE);
  else await demo(process.env.MOSHI_SERVER ?? "moshi-server", values);
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
