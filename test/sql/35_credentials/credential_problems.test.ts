import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, asApi, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, chain, createOrganization } from '../../helpers/factory.ts';
import { type TestPerson, createMember } from '../../helpers/people.ts';
import { createCredential, createTestVault } from '../../helpers/vault.ts';

let db: TestDatabase;
let acme: TestOrganization;
let ada: TestPerson;
let ben: TestPerson;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  const keys = await createTestVault();
  [ada, ben] = [await createMember(db, acme), await createMember(db, acme)];
  const bearer = { type: 'bearer', data: { token: 'some token' } };
  await createCredential(db, keys, acme, { name: 'crm', ...bearer }, asApi(db, ada.secret));
  await createCredential(db, keys, acme, { name: 'all', ...bearer, isShared: true }, asApi(db, ada.secret));
  await createCredential(db, keys, acme, { name: 'mail', type: 'smtp', data: { host: 'mail' }, isShared: true }, asApi(db, ada.secret));
  const inbound = {
    basic: { username: 'ada', password: 'some password' },
    bearer: { token: 'some token' },
    apiKey: { name: 'X-Key', value: 'some key' },
    jwt: { secret: 'some secret' },
    hmac: { secrets: ['some secret'] },
  };
  for (const [type, data] of Object.entries(inbound)) {
    await createCredential(db, keys, acme, { name: `in-${type}`, type, data }, asApi(db, ada.secret));
  }
  const globex = await createOrganization(db, 'Globex');
  await createCredential(db, keys, globex, { name: 'theirs', ...bearer, isShared: true });
});

const withCredentials = (credentials: unknown, type = 'httpRequest') =>
  chain(
    { id: 'start', type: 'apiTrigger' },
    { id: 'n', type, credentials, properties: type === 'noOp' ? {} : { url: 'https://x.example' } },
  );
const problems = async (person: TestPerson, definition: unknown) =>
  (
    await person.user.query<{ problem: string }>(
      `select format('%s %s', pointer, code) as problem from validate_workflow($1) where severity = 'error'`,
      [JSON.stringify(definition)],
    )
  ).rows.map(({ problem }) => problem);

test('who may use a credential may publish a workflow that names it', async () => {
  expect(await problems(ada, withCredentials({ auth: 'crm' }))).toEqual([]);
  expect(await problems(ben, withCredentials({ auth: 'all' }))).toEqual([]);
});

test.each([
  ['one of somebody else', { auth: 'crm' }, 'UNKNOWN_CREDENTIAL'],
  ['one of another organization', { auth: 'theirs' }, 'UNKNOWN_CREDENTIAL'],
  ['one that is not there', { auth: 'nothing' }, 'UNKNOWN_CREDENTIAL'],
  ['one of a type that does not fit', { auth: 'mail' }, 'CREDENTIAL_TYPE'],
  ['a number', { auth: 1 }, 'INVALID_DEFINITION'],
])('%s cannot be named', async (_case, credentials, code) => {
  expect(await problems(ben, withCredentials(credentials))).toEqual([`/nodes/1/credentials/auth ${code}`]);
});

test('a node has only the slots of its type', async () => {
  expect(await problems(ada, withCredentials({ other: 'all' }))).toEqual(['/nodes/1/credentials/other UNKNOWN_SLOT']);
  expect(await problems(ada, withCredentials({ auth: 'all' }, 'noOp'))).toEqual(['/nodes/1/credentials/auth UNKNOWN_SLOT']);
});

test.each([
  ['basic', 'basic', []],
  ['header', 'bearer', []],
  ['header', 'apiKey', []],
  ['jwt', 'jwt', []],
  ['hmac', 'hmac', []],
  ['basic', 'hmac', ['/nodes/0/credentials/auth CREDENTIAL_TYPE']],
  ['header', 'basic', ['/nodes/0/credentials/auth CREDENTIAL_TYPE']],
  ['jwt', 'bearer', ['/nodes/0/credentials/auth CREDENTIAL_TYPE']],
  ['hmac', 'jwt', ['/nodes/0/credentials/auth CREDENTIAL_TYPE']],
])('a webhook with authentication %s and a credential of type %s has the problems %j', async (authentication, type, expected) => {
  const signature = authentication === 'hmac' ? { signature: { scheme: 'github' } } : {};
  const node = { id: 'start', type: 'webhookTrigger', credentials: { auth: `in-${type}` } };
  expect(await problems(ada, chain({ ...node, properties: { path: '/in', authentication, ...signature } }))).toEqual(expected);
});

test('a name that a published workflow uses stays, and so does the credential, unless it is forced', async () => {
  const { rows } = await ada.user.query<{ id: string }>(`select id from create_workflow('W', $1)`, [
    JSON.stringify(withCredentials({ auth: 'crm' })),
  ]);
  await ada.user.query('select publish_workflow($1)', [rows[0]!.id]);
  const { rows: found } = await ada.user.query<{ id: string }>(`select id from credentials where name = 'crm'`);
  const id = found[0]!.id;
  const refusal = { code: 'WF003', detail: expect.stringContaining(rows[0]!.id) };
  await expect(asApi(db, ada.secret).query(`select update_credential($1, name => 'crm2')`, [id])).rejects.toMatchObject(refusal);
  await expect(ada.user.query('select delete_credential($1)', [id])).rejects.toMatchObject(refusal);
  await ada.user.query('select delete_credential($1, force => true)', [id]);
});
