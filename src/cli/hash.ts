/** `flowgres hash`: prints the hash of a password, so that a DBA can call SQL functions that take a hash. */
import { text } from 'node:stream/consumers';
import { FlowgresError } from '../errors.ts';
import { Passwords, password } from '../accounts/passwords.ts';

/** Reads the password from standard input only: other users see arguments, and the shell stores them. */
export async function hashCommand(): Promise<void> {
  if (process.stdin.isTTY) console.error('Type the password, then Enter and Ctrl-D. It is shown as you type.');
  const parsed = password.safeParse((await text(process.stdin)).replace(/\r?\n$/, ''));
  if (!parsed.success) throw new FlowgresError('VALIDATION_FAILED', parsed.error.issues[0]!.message);
  console.log(await new Passwords().hash(parsed.data));
}
