/** Reads facts about other processes of this machine. */
import { readFile } from 'node:fs/promises';

/**
 * Returns when a process started, which tells it from a later one with the same number; empty when it does not
 * run. A killed process that its parent has not reaped counts as not running.
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

/** Whether the process runs and was called with this argument, as far as the operating system shows arguments. */
export async function runsWith(pid: number, argument: string): Promise<boolean> {
  if (!(await startTime(pid))) return false;
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => undefined);
  return command === undefined || command.split('\0').includes(argument);
}
