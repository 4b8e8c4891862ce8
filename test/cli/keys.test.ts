/** `flowgres keys` and `flowgres seal`, as processes: what they print, and that no secret is among it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Credentials } from '../../src/vault/credentials.ts';
import { Vault } from '../../src/vault/vault.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import { finishCli, runCli, temporaryFolder } from '../helpers/cli.ts';
import { asUser, createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';

test('keys are created, listed, rotated and pruned, and what was sealed before opens after', async () => {
  const db = await createTestDatabase();
  const acme = await createOrganization(db);
  const file = join(await temporaryFolder(), 'keys.json');
  const environment = { DATABASE_URL: db.adminUrl, FLOWGRES_SECRET: TEST_SECRET, FLOWGRES_VAULT_KEYS: file };
  const created = await finishCli(['keys', 'create', file], environment);
  expect(created).toMatchObject({ code: 0, output: expect.stringMatching(/the current key is k[0-9a-f]{12}\. Keep a copy/) });
  const { current: first, keys } = JSON.parse(await readFile(file, 'utf8')) as { current: string; keys: Record<string, string> };

  const sealing = runCli(['seal', '--organization', acme.id, '--type', 'variable'], environment);
  sealing.child.stdin!.end('"planted secret"');
  expect(await sealing.exited).toBe(0);
  const printed = sealing.output();
  expect(printed).not.toMatch(/planted/);
  await asUser(db, acme.token).query(`select set_variable('key', $1, secret => true)`, [printed]);

  const listed = await finishCli(['keys', 'list'], environment);
  expect(listed).toMatchObject({ code: 0, output: expect.stringMatching(new RegExp(`${first} +current +1\\b`)) });
  const rotated = await finishCli(['keys', 'rotate', '--prune'], environment);
  expect(rotated).toMatchObject({ code: 0, output: expect.stringContaining(`Removed: ${first}.`) });
  expect(rotated.output).toMatch(/1 secrets are wrapped by k[0-9a-f]{12} now/);
  expect(created.output + listed.output + rotated.output).not.toContain(keys[first]!);
  const credentials = new Credentials(db.pool('flowgres_worker'), await Vault.read({ file }));
  expect(await credentials.openVariables(acme.id, ['key'])).toMatchObject([{ value: 'planted secret' }]);
});

test.each([
  ['what is no JSON', ['--type', 'bearer'], 'planted'],
  ['a type that is none', ['--type', 'planted'], '{"token": "planted secret"}'],
])('seal refuses %s, and repeats nothing of it', async (_case, flags, data) => {
  const file = join(await temporaryFolder(), 'keys.json');
  await finishCli(['keys', 'create', file]);
  const sealing = runCli(['seal', '--organization', crypto.randomUUID(), ...flags], { FLOWGRES_VAULT_KEYS: file });
  sealing.child.stdin!.end(data);
  expect(await sealing.exited).toBe(1);
  expect(sealing.output()).not.toMatch(/planted/);
});
