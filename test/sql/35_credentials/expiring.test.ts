import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, asApi, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';
import { createMember, readMail } from '../../helpers/people.ts';
import { type TestVault, createCredential, createTestVault } from '../../helpers/vault.ts';

let db: TestDatabase;
let acme: TestOrganization;
let keys: TestVault;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  keys = await createTestVault();
});

const inDays = (days: number) => new Date(Date.now() + days * 86_400_000).toISOString();
const warn = async () =>
  (await db.pool('flowgres_maintenance').query<{ count: number }>('select engine.warn_expiring_credentials() as count')).rows[0]!.count;
const bearer = { type: 'bearer', data: { token: 'topsecret token' } };

test('who created a credential is told once, 7 days before it expires, and again when it was changed', async () => {
  const ada = await createMember(db, acme);
  const id = await createCredential(db, keys, acme, { name: 'soon', ...bearer, expiresAt: inDays(6.9) }, asApi(db, ada.secret));
  await createCredential(db, keys, acme, { name: 'later', ...bearer, expiresAt: inDays(7.1) }, asApi(db, ada.secret));
  await createCredential(db, keys, acme, { name: 'over', ...bearer, expiresAt: inDays(-1) }, asApi(db, ada.secret));
  await createCredential(db, keys, acme, { name: 'never', ...bearer }, asApi(db, ada.secret));
  expect([await warn(), await warn()]).toEqual([1, 0]);
  const mail = await readMail(db, ada.email);
  expect(mail).toMatchObject({ subject: 'The credential soon expires', body: expect.not.stringContaining('topsecret') });
  const { rows } = await db.admin.query('select name, warned_at is not null as warned from engine.expiring_credentials()');
  expect(rows).toEqual([
    { name: 'over', warned: false },
    { name: 'soon', warned: true },
  ]);
  await asApi(db, ada.secret).query('select update_credential($1, expires_at => $2)', [id, inDays(2)]);
  expect(await warn()).toBe(1);
});

test('when its creator has left, the owners and admins are told', async () => {
  const other = await createOrganization(db, 'Globex');
  const [leaver, admin, member] = [await createMember(db, other), await createMember(db, other, 'admin'), await createMember(db, other)];
  await createCredential(db, keys, other, { name: 'orphan', ...bearer, expiresAt: inDays(1) }, asApi(db, leaver.secret));
  await leaver.user.query('select leave_organization()');
  expect(await warn()).toBe(1);
  expect(await readMail(db, admin.email)).toMatchObject({ subject: 'The credential orphan expires' });
  expect([await readMail(db, member.email), await readMail(db, leaver.email)]).toEqual([undefined, undefined]);
});
