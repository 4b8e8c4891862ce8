import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { type Envelope, parseEnvelope } from '../../src/vault/envelope.ts';
import { newSecretId } from '../../src/vault/vault.ts';
import { createTestVault } from '../helpers/vault.ts';

const { vault } = await createTestVault();
const binding = { organizationId: randomUUID(), id: newSecretId(), version: 1 };
const sealed = (value: unknown) => parseEnvelope(vault.seal(binding, value));

test('what was sealed opens again, exactly', async () => {
  const value = { token: 'naïve ☃ "quoted"', nested: [1, null, { deep: true }] };
  expect(await vault.open(binding, sealed(value))).toEqual(value);
});

test('the same secret is sealed differently each time, with another data key', () => {
  const [one, other] = [sealed('same'), sealed('same')];
  expect(one.wrappedKey).not.toEqual(other.wrappedKey);
  expect(one.sealed).not.toEqual(other.sealed);
});

test.each([
  ['another organization', { organizationId: randomUUID() }],
  ['another row', { id: newSecretId() }],
  ['another version', { version: 2 }],
])('an envelope does not open for %s', async (_case, change) => {
  await expect(vault.open({ ...binding, ...change }, sealed('x'))).rejects.toMatchObject({ code: 'ENVELOPE_INVALID' });
});

test('the secret of one row with the data key of another does not open', async () => {
  const [one, other] = [sealed('one'), sealed('other')];
  await expect(vault.open(binding, { ...one, sealed: other.sealed })).rejects.toMatchObject({ code: 'ENVELOPE_INVALID' });
});

test('a change of any byte, and a cut at any place, is noticed', async () => {
  const envelope = sealed('x');
  const fails = async (changed: Envelope) => expect(vault.open(binding, changed)).rejects.toMatchObject({ code: 'ENVELOPE_INVALID' });
  for (const part of ['wrappedKey', 'sealed'] as const) {
    for (let at = 0; at < envelope[part].length; at += 1) {
      const flipped = Buffer.from(envelope[part]);
      flipped[at]! ^= 1;
      await fails({ ...envelope, [part]: flipped });
      await fails({ ...envelope, [part]: envelope[part].subarray(0, at) });
    }
  }
});

test.each(['', 'fv1.k1', 'fv2.k1.a.b', `fv1.k1.${'a'.repeat(80)}.short`, `fv1.k 1.${'a'.repeat(80)}.${'a'.repeat(40)}`])(
  'the text %j is no envelope',
  (text) => {
    expect(() => parseEnvelope(text)).toThrow(expect.objectContaining({ code: 'ENVELOPE_INVALID' }));
  },
);

test('a secret of 1 MiB is refused', () => {
  expect(() => vault.seal(binding, { token: 'x'.repeat(1024 * 1024) })).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
});

test('the data key is wrapped anew without the secret', async () => {
  const envelope = sealed('x');
  const rewrapped = await vault.rewrap(binding, envelope);
  expect(rewrapped.wrappedKey).not.toEqual(envelope.wrappedKey);
  expect(await vault.open(binding, { ...envelope, ...rewrapped })).toBe('x');
  await expect(vault.rewrap({ ...binding, id: newSecretId() }, envelope)).rejects.toMatchObject({ code: 'ENVELOPE_INVALID' });
});
