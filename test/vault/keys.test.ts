import { chmod, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KeyRing, addKey, createKeyFile, removeKeys } from '../../src/vault/keys.ts';

const newFile = async () => join(await mkdtemp(join(tmpdir(), 'flowgres-keys-')), 'keys.json');
const K1 = Buffer.alloc(32, 1).toString('base64');

async function fileWith(content: string, mode = 0o600): Promise<string> {
  const file = await newFile();
  await writeFile(file, content, { mode });
  await chmod(file, mode);
  return file;
}

test('a new key file has one key, and only its owner may read it', async () => {
  const file = await newFile();
  await createKeyFile(file);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  const ring = await KeyRing.read({ file });
  expect(ring.ids).toEqual([ring.current.id]);
  expect(ring.current.key).toHaveLength(32);
});

test('a key file that exists is never overwritten', async () => {
  const file = await fileWith(JSON.stringify({ current: 'k1', keys: { k1: K1 } }));
  await createKeyFile(file);
  expect((await KeyRing.read({ file })).ids).toEqual(['k1']);
});

test('a key that was added is current, and the older one stays until it is removed', async () => {
  const file = await newFile();
  await createKeyFile(file);
  const first = (await KeyRing.read({ file })).current.id;
  const second = await addKey(file);
  expect((await KeyRing.read({ file })).ids).toEqual([second, first]);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  await removeKeys(file, [first, second]);
  expect((await KeyRing.read({ file })).ids, 'the current key cannot be removed').toEqual([second]);
});

test('a command gives the key ring, too', async () => {
  const ring = await KeyRing.read({ command: `printf '%s' '${JSON.stringify({ current: 'kms', keys: { kms: K1 } })}'` });
  expect(ring.current).toEqual({ id: 'kms', key: Buffer.alloc(32, 1) });
});

test.each([
  ['a file that is not there', async () => ({ file: await newFile() }), 'VAULT_KEYS_MISSING'],
  ['a command that fails', async () => ({ command: 'echo topsecret >&2; exit 3' }), 'VAULT_KEYS_MISSING'],
  [
    'a file that the group may read',
    async () => ({ file: await fileWith(JSON.stringify({ current: 'k1', keys: { k1: K1 } }), 0o640) }),
    'VAULT_KEYS_EXPOSED',
  ],
  ['no JSON', async () => ({ file: await fileWith('k1 topsecret') }), 'VAULT_KEYS_INVALID'],
  [
    'a key that is too short',
    async () => ({ file: await fileWith('{"current":"k1","keys":{"k1":"dG9wc2VjcmV0"}}') }),
    'VAULT_KEYS_INVALID',
  ],
  ['a current key that is missing', async () => ({ file: await fileWith(`{"current":"k2","keys":{"k1":"${K1}"}}`) }), 'VAULT_KEYS_INVALID'],
])('%s is refused, without a word of its content', async (_case, source, code) => {
  const error = await KeyRing.read(await source()).catch((each: unknown) => each);
  expect(error).toMatchObject({ code });
  expect(JSON.stringify([String(error), error])).not.toMatch(/topsecret|dG9wc2VjcmV0/);
});

test('a key that another process has added is found without a restart', async () => {
  const file = await newFile();
  await createKeyFile(file);
  const ring = await KeyRing.read({ file });
  const added = await addKey(file);
  const wanted = JSON.parse(await readFile(file, 'utf8')).keys[added];
  await expect
    .poll(() =>
      ring.find(added).then(
        (key) => key.toString('base64'),
        () => null,
      ),
    )
    .toBe(wanted);
});

test('a key that is nowhere is named', async () => {
  const ring = await KeyRing.read({ file: await fileWith(JSON.stringify({ current: 'k1', keys: { k1: K1 } })) });
  await expect(ring.find('k9')).rejects.toMatchObject({ code: 'VAULT_KEY_UNKNOWN', details: { keyId: 'k9' } });
  await expect(ring.find('constructor')).rejects.toMatchObject({ code: 'VAULT_KEY_UNKNOWN' });
});
