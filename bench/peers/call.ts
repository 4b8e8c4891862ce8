/** Calls engines in separate processes. */
import { type ChildProcess, fork } from 'node:child_process';
import type { Setup, Work } from './engine.ts';

/** Arguments of a call. */
export type Arguments = [setup: Setup, work?: Work, count?: number];

interface Answer {
  /** No answer yet, but steps are being executed. */
  working?: boolean;
  value?: unknown;
  error?: string;
}

/** A process of an engine. Its output is shown only when it fails. */
export class Child {
  readonly #process: ChildProcess;
  readonly working: Promise<unknown>;
  readonly answer: Promise<Answer>;

  constructor(engine: string, call: string, args: Arguments) {
    this.#process = fork(new URL('./child.ts', import.meta.url), [engine, call, JSON.stringify(args)], {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let errors = '';
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-2000);
    });
    this.answer = new Promise((resolve) => {
      this.#process.on('message', (message: Answer) => message.working || resolve(message));
      this.#process.once('exit', (code) => resolve({ error: /^\w*Error.*$/m.exec(errors)?.[0] ?? `its process ended with ${code}` }));
    });
    this.working = Promise.race([this.answer, new Promise((resolve) => this.#process.once('message', resolve))]);
  }

  kill(): void {
    this.#process.kill('SIGKILL');
  }
}

/** Calls a method of an engine in a new process. Rejects when the process fails. */
export async function callEngine<T>(engine: string, call: string, args: Arguments): Promise<T> {
  const { value, error } = await new Child(engine, call, args).answer;
  if (error) throw new Error(error);
  return value as T;
}
