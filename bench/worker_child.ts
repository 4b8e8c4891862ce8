/** Starts and ends workers of the benchmark in processes of their own. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('worker_process.ts', import.meta.url));

/** Starts a worker. Resolves at once; see {@link working}. */
export function startChild(connectionString: string, stepMs = 0): ChildProcess {
  return fork(PROGRAM, [connectionString, String(stepMs)]);
}

/** Resolves when the worker takes jobs. */
export async function working(child: ChildProcess): Promise<ChildProcess> {
  await once(child, 'message');
  return child;
}

/** Kills the worker as `kill -9` does. Resolves when its process is gone. */
export async function killChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
