/** `flowgres seal`: seals a secret for the SQL functions that take an envelope, so that a DBA can call them. */
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import type { Config } from '../config.ts';
import { FlowgresError } from '../errors.ts';
import { tryParseJson } from '../json/json.ts';
import { checkCredential, checkSecretText } from '../vault/check.ts';
import { Vault, newSecretId } from '../vault/vault.ts';
import { requireKeys } from './keys.ts';

/** Options of `flowgres seal`, as commander parses them. */
export interface SealFlags {
  type: string;
  organization: string;
  id?: string;
  secretVersion?: string;
}

/**
 * Reads the data of a credential, or with the type `variable` the text of a secret variable, as JSON from standard input
 * only, and prints id, version and envelope as JSON.
 */
export async function sealCommand(config: Config, flags: SealFlags): Promise<void> {
  const vault = await Vault.read(requireKeys(config));
  const organizationId = uuidOf(flags.organization, '--organization');
  const id = flags.id === undefined ? newSecretId() : uuidOf(flags.id, '--id');
  const version = z.coerce
    .number()
    .int()
    .min(1)
    .safeParse(flags.secretVersion ?? 1);
  if (!version.success) throw new FlowgresError('INVALID_ARGUMENT', '--secret-version is a whole number from 1 on.');
  if (process.stdin.isTTY) console.error('Type the secret as JSON, then Enter and Ctrl-D. It is shown as you type.');
  const data = tryParseJson(await text(process.stdin));
  if (data === undefined)
    throw new FlowgresError('VALIDATION_FAILED', 'A secret is JSON: {"token": "…"} of a credential, "…" of a variable.');
  const binding = { organizationId, id, version: version.data };
  const secret = flags.type === 'variable' ? checkSecretText(data) : checkCredential(flags.type, data);
  console.log(JSON.stringify({ id, version: version.data, envelope: vault.seal(binding, secret) }));
}

function uuidOf(given: string, option: string): string {
  const parsed = z.guid().safeParse(given);
  if (parsed.success) return parsed.data;
  throw new FlowgresError('INVALID_ARGUMENT', `${option} is a UUID.`);
}
