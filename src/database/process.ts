/** Facts about other processes of this machine. */
import { readFile } from 'node:fs/promises';

/**
 * When a process started, so that a later one with the same number is not taken for it; empty when it does not run.
 * A killed process that its parent has not collected yet does not run.
 */
export async function startTime(pid: number): Promise<string> {
  if (!(pid > 0)) return '';
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (stat) {
    const fields = stat.slice(stat.lastIndexOf(')')).split(' ');
    return fields[1] === 'Z' ? '' : (fields[20] ?? '');
  }
  try {
    process.kill(pid, 0);
    return 'running';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'running' : '';
  }
}

/** Whether the process runs and, as far as the system tells, was called with this argument. */
export async function runsWith(pid: number, argument: string): Promise<boolean> {
  if (!(await startTime(pid))) return false;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  return command === undefined || command.split('\0').includes(argument);
}
