/** Processes of an installation, as a supervisor runs them: one that ends is started again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

const RESTART_MS = 500;
const MOST_START_MS = 10_000;
const POLL_MS = 100;

export interface ProcessOptions {
  name: string;
  /** The script and its arguments. */
  script: string[];
  environment: Record<string, string>;
  /** What it says of trouble goes there. */
  onOutput: (line: string) => void;
}

export class Supervised {
  readonly name: string;
  readonly #options: ProcessOptions;
  #child: ChildProcess | undefined;
  #stopped = false;
  #isUp = false;
  /** How often the process gave up by itself after it had been running; to start, it needs the database. */
  surrenders = 0;

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.#options = options;
    this.#start();
  }

  /** Sends a signal. When that ends the process, it is started again. */
  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** Kills the process; resolves when the next one has started, or has been given time for that on a slow machine. */
  async kill(): Promise<void> {
    this.#isUp = false;
    this.signal('SIGKILL');
    for (let waited = 0; !this.#isUp && waited < MOST_START_MS; waited += POLL_MS) await delay(POLL_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGCONT');
    child.kill('SIGTERM');
    await Promise.race([ended, delay(12_000).then(() => child.kill('SIGKILL'))]);
  }

  #start(): void {
    const { script, environment, onOutput } = this.#options;
    const child = spawn(process.execPath, script, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    let isRunning = false;
    child.stdout.setEncoding('utf8').on('data', (line: string) => {
      isRunning = true;
      this.#isUp = true;
      onOutput(line);
    });
    child.stderr.setEncoding('utf8').on('data', onOutput);
    child.once('exit', async (code) => {
      if (this.#stopped) return;
      if (code && isRunning) {
        this.surrenders += 1;
        onOutput(`ended with ${code}\n`);
      }
      await delay(RESTART_MS);
      if (!this.#stopped) this.#start();
    });
    this.#child = child;
  }
}

/** A port that is free now, for a process that must keep it over its restarts. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
