import { beforeAll, expect, test } from 'vitest';
import { createEnginePool } from '../../src/engine/engine.ts';
import { Credentials } from '../../src/vault/credentials.ts';
import { KeyRing, addKey, removeKeys } from '../../src/vault/keys.ts';
import { countSecrets, rotateSecrets } from '../../src/vault/rotate.ts';
import { Vault } from '../../src/vault/vault.ts';
import { connect } from '../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestVault, createCredential, createTestVault } from '../helpers/vault.ts';

let db: TestDatabase;
let acme: TestOrganization;
let globex: TestOrganization;
let keys: TestVault;
let credentials: Credentials;
beforeAll(async () => {
  db = await createTestDatabase();
  [acme, globex] = [await createOrganization(db), await createOrganization(db, 'Globex')];
  keys = await createTestVault();
  const pool = createEnginePool(db.url('flowgres_worker'), 'test');
  credentials = new Credentials(pool, keys.vault);
  return () => pool.end();
});

const bearer = (name: string, token = `token of ${name}`) => ({ name, type: 'bearer', data: { token }, allowedHosts: ['crm.example'] });

test('a credential is opened by its name or id', async () => {
  const id = await createCredential(db, keys, acme, bearer('crm'));
  const opened = { id, name: 'crm', type: 'bearer', version: 1, data: { token: 'token of crm' }, allowedHosts: ['crm.example'] };
  expect(await credentials.open({ organizationId: acme.id, name: 'crm' })).toMatchObject(opened);
  expect(await credentials.open({ organizationId: acme.id, id })).toMatchObject(opened);
});

test('a credential of another organization is not found', async () => {
  const id = await createCredential(db, keys, acme, bearer('ours'));
  for (const ref of [{ name: 'ours' }, { id }]) {
    await expect(credentials.open({ organizationId: globex.id, ...ref })).rejects.toMatchObject({ code: 'CREDENTIAL_NOT_FOUND' });
  }
});

test('two ciphertexts that were swapped do not open, neither in one organization nor between two', async () => {
  const ids = [await createCredential(db, keys, acme, bearer('one')), await createCredential(db, keys, acme, bearer('two'))];
  const theirs = await createCredential(db, keys, globex, bearer('three'));
  const swap = async (a: string, b: string) => {
    await db.admin.query(
      `update private.secrets as s set key_id = o.key_id, wrapped_key = o.wrapped_key, sealed = o.sealed
       from private.secrets as o where (s.id, o.id) in (($1, $2), ($2, $1))`,
      [a, b],
    );
  };
  for (const other of [ids[1]!, theirs]) {
    await swap(ids[0]!, other);
    await expect(credentials.open({ organizationId: acme.id, name: 'one' })).rejects.toMatchObject({ code: 'ENVELOPE_INVALID' });
    await swap(ids[0]!, other);
    expect(await credentials.open({ organizationId: acme.id, name: 'one' })).toMatchObject({ data: { token: 'token of one' } });
  }
});

test('a process without keys says so, and one with other keys names the one that it lacks', async () => {
  await createCredential(db, keys, acme, bearer('locked'));
  const pool = db.pool('flowgres_worker');
  await expect(new Credentials(pool, undefined).open({ organizationId: acme.id, name: 'locked' })).rejects.toMatchObject({
    code: 'VAULT_UNAVAILABLE',
  });
  const { vault } = await createTestVault();
  await expect(new Credentials(pool, vault).open({ organizationId: acme.id, name: 'locked' })).rejects.toMatchObject({
    code: 'VAULT_KEY_UNKNOWN',
    details: { keyId: keys.vault.ring.current.id },
  });
});

test('a rotation wraps all secrets anew, goes on where it was ended, and names a lost key', async () => {
  const own = await createTestVault();
  const lost = await createTestVault();
  const soon = await createOrganization(db, 'Rotating');
  await Promise.all(Array.from({ length: 12 }, (_, index) => createCredential(db, own, soon, bearer(`r${index}`))));
  const stuck = await createCredential(db, lost, soon, bearer('stuck'));
  const before = own.vault.ring.current.id;
  const after = await addKey(own.file);
  const ring = await KeyRing.read({ file: own.file });
  const client = await connect(db.url('flowgres_maintenance'));
  try {
    // As after a rotation that was ended in the middle.
    await db.admin.query('delete from private.secrets where organization_id <> $1', [soon.id]);
    const [half] = (await client.query('select * from engine.secrets_to_rewrap($1, p_limit => 1)', [after])).rows;
    expect(half).not.toHaveProperty('sealed');
    const rotation = await rotateSecrets(client, ring);
    expect(rotation).toMatchObject({ rewrapped: 12, failed: [{ keyId: lost.vault.ring.current.id, secrets: 1 }] });
    expect(await rotateSecrets(client, ring)).toMatchObject({ rewrapped: 0, failed: [{ secrets: 1 }] });
    const counts = await countSecrets(client);
    expect([counts.get(after), counts.get(before), counts.get(lost.vault.ring.current.id)]).toEqual([12, undefined, 1]);
  } finally {
    await client.end();
  }
  await removeKeys(own.file, [before]);
  const opener = new Credentials(db.pool('flowgres_worker'), await Vault.read({ file: own.file }));
  expect(await opener.open({ organizationId: soon.id, name: 'r7' })).toMatchObject({ data: { token: 'token of r7' } });
  await expect(opener.open({ organizationId: soon.id, id: stuck })).rejects.toMatchObject({ code: 'VAULT_KEY_UNKNOWN' });
});
