/** `flowgres hash`: the hash of a password, so that a DBA can call what takes one from psql. */
import { text } from 'node:stream/consumers';
import { FlowgresError } from '../errors.ts';
import { Passwords, password } from '../accounts/passwords.ts';

/** From standard input only: arguments are seen by everybody on the machine, and kept by the shell. */
export async function hashCommand(): Promise<void> {
  if (process.stdin.isTTY) console.error('Type the password, then Enter and Ctrl-D. It is shown as you type.');
  const parsed = password.safeParse((await text(process.stdin)).replace(/\r?\n$/, ''));
  if (!parsed.success) throw new FlowgresError('VALIDATION_FAILED', parsed.error.issues[0]!.message);
  console.log(await new Passwords().hash(parsed.data));
}
