/** A library that shifts the clock of processes that load it: node, PostgreSQL and psql. Needs a C compiler. */
import { execFile, execFileSync } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL('../chaos/clock.c', import.meta.url));
const NANOSECONDS_PER_MS = 1_000_000n;

/** Whether this machine can compile the library. */
export function canFakeClock(): boolean {
  if (process.platform !== 'linux') return false;
  try {
    execFileSync('cc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Compiles the library into a folder and returns its path. Rejects without a C compiler for Linux. */
export async function compileClock(folder: string): Promise<string> {
  const library = join(folder, 'clock.so');
  await run('cc', ['-shared', '-fPIC', '-O2', '-o', library, SOURCE, '-ldl']);
  return library;
}

/** Returns the environment variables that load `library` and read the distance from `file`. */
export function clockEnvironment(library: string, file: string): Record<string, string> {
  return { LD_PRELOAD: library, FLOWGRES_TEST_CLOCK: file };
}

/** Returns the content of that file: by how many milliseconds the clock is ahead. */
export function clockDistance(milliseconds: number): Buffer {
  const nanoseconds = Buffer.alloc(8);
  nanoseconds.writeBigInt64LE(BigInt(Math.round(milliseconds)) * NANOSECONDS_PER_MS);
  return nanoseconds;
}

/** Calls `work` with the environment variables that set the clock of processes to `moment` now. */
export async function withClockAt<T>(moment: Date, work: (environment: Record<string, string>) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-dates-'));
  try {
    // The server may run as another user, and reads both files.
    await chmod(folder, 0o755);
    const library = await compileClock(folder);
    const file = join(folder, 'clock');
    await writeFile(file, clockDistance(moment.getTime() - Date.now()), { mode: 0o644 });
    return await work(clockEnvironment(library, file));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
