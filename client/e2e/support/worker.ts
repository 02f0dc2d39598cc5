import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SECRET } from "./auth";
import { DIST } from "./pages";

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** `MOSHI_SERVER`, or what cargo built last with optimisations, or without. */
export function workerProgram(): string {
  const built = [process.env["MOSHI_SERVER"], join(ROOT, "target/release/moshi-server"), join(ROOT, "target/debug/moshi-server")];
  const program = built.find((path) => path !== undefined && existsSync(path));
  if (!program) throw new Error("no moshi-server: run `cargo build --release` first, or name one with MOSHI_SERVER");
  return program;
}

/** The bundled checkpoint's demonstration recording, and the words in it. */
export function sample(): { wav: string; words: string[] } {
  const stem = join(ROOT, "models/stt-demo/samples/demo");
  return { wav: `${stem}.wav`, words: readFileSync(`${stem}.txt`, "utf8").trim().split(/\s+/) };
}

export function freePort(): Promise<number> {
  const probe = createServer();
  return new Promise((resolve) => {
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

export interface WorkerOptions {
  port: number;
  /** Rows of the model. */
  rows?: number;
  /** Sessions that may wait for one. */
  queue?: number;
}

/** The real worker on the bundled checkpoint, serving the built page. */
export class Worker {
  readonly #folder = mkdtempSync(join(tmpdir(), "moshi-worker-"));
  readonly #options: Required<WorkerOptions>;
  #process: ChildProcess | null = null;

  constructor(options: WorkerOptions) {
    this.#options = { rows: 4, queue: 4, ...options };
  }

  async start(): Promise<void> {
    const { port, rows, queue } = this.#options;
    const config = readFileSync(join(ROOT, "models/stt-demo/config.toml"), "utf8")
      .replace(/^static_dir = .*/m, `static_dir = "${DIST}"`)
      .replace(/^(log_dir|authorized_ids) = .*/gm, "")
      .replace(/^batch_size = .*/m, `batch_size = ${rows}`);
    const file = join(this.#folder, "config.toml");
    writeFileSync(file, `${config}\n[server]\nadmin_addr = ""\n\n[limits]\nqueue_len = ${queue}\ndrain_s = 3\n`);
    const child = spawn(workerProgram(), ["worker", "--config", file, "--port", String(port)], {
      // The checkpoint's paths are those of a checkout.
      cwd: ROOT,
      env: { ...process.env, BETTER_AUTH_SECRET: SECRET, MOSHI_API_KEY: "an-api-key-for-tests" },
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
