import { type ChildProcess, execFile, spawn } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { SECRET } from "./auth";
import { DIST } from "./pages";
import { plain, type Recording } from "./words";

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
export const API_KEY = "an-api-key-for-tests";

/** `MOSHI_SERVER`, or what `cargo build --release` has made. */
export function workerProgram(): string {
  const program = process.env["MOSHI_SERVER"] ?? join(ROOT, "target/release/moshi-server");
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`cargo build --release\`, or name a moshi-server with MOSHI_SERVER`);
  return program;
}

const sample = (name: string) => join(ROOT, "models/stt-demo/samples", name);

/** The words of one of the bundled checkpoint's samples. */
export const spoken = (name: string) => plain(readFileSync(`${sample(name)}.txt`, "utf8"));

/** A recording that comes with the bundled checkpoint, and what a worker hears in it when the server's own client sends the file. */
export async function recording(name: string, url: string, key: string): Promise<Recording> {
  const wav = `${sample(name)}.wav`;
  const args = ["transcribe", "--quiet", "--url", url, "--api-key", key, wav];
  const { stdout } = await promisify(execFile)(workerProgram(), args);
  return { wav, spoken: spoken(name), engine: plain(stdout) };
}

export interface WorkerOptions {
  port: number;
  /** Rows of the model. */
  rows?: number;
  /** Sessions that may wait for one. */
  queue?: number;
  /** `config.json` of the page. */
  page: object;
  /** More of `[server]`. */
  server?: string;
  /** Tables of their own, such as `[auth]`. */
  tables?: string;
}

/** The real worker on the bundled checkpoint, serving the built page. */
export class Worker {
  readonly #folder = mkdtempSync(join(tmpdir(), "moshi-worker-"));
  readonly #options: Required<WorkerOptions>;
  #process: ChildProcess | null = null;

  constructor(options: WorkerOptions) {
    this.#options = { rows: 4, queue: 4, server: "", tables: "", ...options };
    cpSync(DIST, join(this.#folder, "page"), { recursive: true });
    writeFileSync(join(this.#folder, "page/config.json"), JSON.stringify(options.page));
  }

  async start(): Promise<void> {
    const { port, rows, queue, server, tables } = this.#options;
    const config = readFileSync(join(ROOT, "models/stt-demo/config.toml"), "utf8")
      .replace(/^static_dir = .*/m, `static_dir = "${join(this.#folder, "page")}"`)
      .replace(/^(log_dir|authorized_ids) = .*/gm, "")
      .replace(/^batch_size = .*/m, `batch_size = ${rows}`);
    const file = join(this.#folder, "config.toml");
    writeFileSync(file, `${config}\n[server]\nadmin_addr = ""\n${server}\n[limits]\nqueue_len = ${queue}\ndrain_s = 3\n${tables}\n`);
    const child = spawn(workerProgram(), ["worker", "--config", file, "--port", String(port)], {
      // The checkpoint's paths are those of a checkout.
      cwd: ROOT,
      env: { ...process.env, BETTER_AUTH_SECRET: SECRET, MOSHI_API_KEY: API_KEY },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data: Buffer) => (output += data.toString()));
    for (let tries = 0; tries < 600; tries++) {
      if (child.exitCode !== null) throw new Error(`the worker ended with ${child.exitCode}:\n${output}`);
      const ready = await fetch(`http://127.0.0.1:${port}/readyz`).then((response) => response.ok, () => false);
      if (ready) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`the worker is not ready:\n${output}`);
  }

  recording(name: string): Promise<Recording> {
    return recording(name, `ws://127.0.0.1:${this.#options.port}`, API_KEY);
  }

  /** SIGTERM, as a supervisor would. */
  async stop(): Promise<number | null> {
    const child = this.#process;
    if (!child || child.exitCode !== null) return child?.exitCode ?? null;
    const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    return ended;
  }

  cleanUp(): void {
    this.#process?.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true });
  }
}
