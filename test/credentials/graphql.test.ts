import { readFile } from 'node:fs/promises';
import { type Server, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { newSecretId } from '../../src/vault/vault.ts';
import { Credentials } from '../../src/vault/credentials.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../helpers/factory.ts';
import { type TestServer, serveGraphql } from '../helpers/graphql.ts';
import { type TestVault, createTestVault } from '../helpers/vault.ts';

let db: TestDatabase;
let acme: TestOrganization;
let keys: TestVault;
let server: TestServer;
let peer: Server;
let host: string;
const seen: (string | undefined)[] = [];
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  keys = await createTestVault();
  peer = createServer((request, response) => {
    seen.push(request.headers.authorization);
    const status = Number(request.url?.slice(1));
    if (status) response.writeHead(status, { location: '/200' }).end(`echo ${request.headers.authorization}`);
    else request.socket.destroy();
  });
  await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(peer.address() as AddressInfo).port}`;
  server = await serveGraphql(db, { vault: keys.vault, nodes: { httpAllow: [host] } });
  return () => void peer.close().closeAllConnections();
});

const CREATE = `mutation ($input: CreateCredentialInput!) {
  createCredential(input: $input) { clientMutationId credential { id name type version isShared allowedHosts expiresAt usageCount } } }`;
const UPDATE = `mutation ($input: UpdateCredentialInput!) { updateCredential(input: $input) { credential { id name version } } }`;
const open = (name: string) => new Credentials(db.pool('flowgres_worker'), keys.vault).open({ organizationId: acme.id, name });

test('a credential is created, changed, listed and deleted over GraphQL', async () => {
  const input = { name: 'crm', type: 'bearer', data: { token: 'topsecret one' }, allowedHosts: ['crm.example'], clientMutationId: 'x' };
  const { createCredential } = await server.data(acme.token, CREATE, { input });
  expect(createCredential).toEqual({
    clientMutationId: 'x',
    credential: {
      id: expect.any(String),
      name: 'crm',
      type: 'bearer',
      version: 1,
      isShared: false,
      allowedHosts: ['crm.example'],
      expiresAt: null,
      usageCount: expect.anything(),
    },
  });
  const { id } = createCredential.credential;
  expect(await open('crm')).toMatchObject({ id, data: { token: 'topsecret one' } });

  const change = { credentialId: id, name: 'crm 2', data: { token: 'topsecret two' } };
  expect(await server.data(acme.token, UPDATE, { input: change })).toEqual({
    updateCredential: { credential: { id, name: 'crm 2', version: 2 } },
  });
  expect(await open('crm 2')).toMatchObject({ data: { token: 'topsecret two' } });

  const list = await server.query(acme.token, '{ credentials { nodes { name type version } } }');
  expect(list.data).toEqual({ credentials: { nodes: [{ name: 'crm 2', type: 'bearer', version: 2 }] } });
  await server.data(acme.token, 'mutation ($id: UUID!) { deleteCredential(input: { credentialId: $id }) { credential { id } } }', { id });
  await expect(open('crm 2')).rejects.toMatchObject({ code: 'CREDENTIAL_NOT_FOUND' });
});

test('the types are shown with their schemas', async () => {
  const { credentialTypes } = await server.data(acme.token, '{ credentialTypes { nodes { name schema } } }');
  expect(credentialTypes.nodes).toContainEqual({ name: 'bearer', schema: expect.objectContaining({ required: ['token'] }) });
});

test.each([
  ['without a token', null, { name: 'x', type: 'bearer', data: { token: 'topsecret' } }, 'UNAUTHENTICATED'],
  ['with an unknown type', 'token', { name: 'x', type: 'topsecret', data: { token: 'topsecret' } }, 'VALIDATION_FAILED'],
  ['with an empty secret', 'token', { name: 'x', type: 'bearer', data: { token: '' } }, 'VALIDATION_FAILED'],
  ['with another key', 'token', { name: 'x', type: 'bearer', data: { topsecret: 'topsecret' } }, 'VALIDATION_FAILED'],
  ['with 1 MiB', 'token', { name: 'x', type: 'bearer', data: { token: 'topsecret'.repeat(120_000) } }, 'TOO_LARGE'],
])('creating one %s is refused, and nothing repeats the secret', async (_case, token, input, code) => {
  const answer = await server.query(token && acme.token, CREATE, { input });
  expect(answer.errors).toMatchObject([{ extensions: { code } }]);
  expect(JSON.stringify([answer, server.logged])).not.toContain('topsecret');
});

const SET = `mutation ($input: SetVariableInput!) {
  setVariable(input: $input) { clientMutationId variable { id name value isSecret allowedHosts } } }`;

test('a secret variable is set over GraphQL, and its value never comes back', async () => {
  const input = { name: 'relay', value: 'topsecret relay', isSecret: true, allowedHosts: ['relay.example'], clientMutationId: 'x' };
  const answer = await server.query(acme.token, SET, { input });
  expect(answer.data).toEqual({
    setVariable: {
      clientMutationId: 'x',
      variable: { id: `${acme.id}:relay`, name: 'relay', value: null, isSecret: true, allowedHosts: ['relay.example'] },
    },
  });
  const credentials = new Credentials(db.pool('flowgres_worker'), keys.vault);
  expect(await credentials.openVariables(acme.id, ['relay'])).toEqual([
    { name: 'relay', value: 'topsecret relay', allowedHosts: ['relay.example'] },
  ]);
  const open = await server.data(acme.token, SET, { input: { name: 'relay', value: { rate: 7 } } });
  expect(open.setVariable.variable).toMatchObject({ value: { rate: 7 }, isSecret: false, allowedHosts: [] });
});

test.each([
  ['a number', { value: 7 }, 'VALIDATION_FAILED'],
  ['three characters', { value: 'abc' }, 'VALIDATION_FAILED'],
  ['1 MiB', { value: 'topsecret'.repeat(120_000) }, 'TOO_LARGE'],
  ['hosts that are none', { value: 'topsecret', allowedHosts: ['https://x'] }, 'VALIDATION_FAILED'],
])('a secret variable of %s is refused, and nothing repeats it', async (_case, given, code) => {
  const answer = await server.query(acme.token, SET, { input: { name: 'bad', isSecret: true, ...given } });
  expect(answer.errors).toMatchObject([{ extensions: { code } }]);
  expect(JSON.stringify([answer, server.logged])).not.toContain('topsecret');
});

const TEST = `mutation ($input: TestCredentialInput!) { testCredential(input: $input) { clientMutationId status outcome hint } }`;
const created = async (name: string, allowedHosts: string[], given: object = { type: 'bearer', data: { token: 'topsecret tested' } }) =>
  (await server.data(acme.token, CREATE, { input: { name, allowedHosts, ...given } })).createCredential.credential.id as string;

test('a credential is tested: it goes to the address, and the status says what came of it', async () => {
  const credentialId = await created('tested', [host]);
  const run = async (status: number) =>
    (await server.data(acme.token, TEST, { input: { credentialId, url: `http://${host}/${status}`, clientMutationId: 'x' } }))
      .testCredential;
  seen.length = 0;
  expect(await run(200)).toEqual({
    clientMutationId: 'x',
    status: 200,
    outcome: 'accepted',
    hint: expect.stringContaining('answers with it'),
  });
  expect(await run(401)).toMatchObject({ status: 401, outcome: 'refused' });
  expect(await run(302)).toMatchObject({ status: 302, outcome: 'unknown' });
  expect(await run(404)).toMatchObject({ status: 404, outcome: 'unknown' });
  expect(await run(503)).toMatchObject({ status: 503, outcome: 'unknown' });
  expect(seen).toEqual(Array(5).fill('Bearer topsecret tested'));
  const { rows } = await db.admin.query(
    'select usage_count::int as uses, last_used_at is not null as used from credentials where id = $1',
    [credentialId],
  );
  expect(rows).toEqual([{ uses: 5, used: true }]);
});

test.each<[string, () => Promise<{ credentialId: string; url: string }>, string]>([
  [
    'at a host that it may not be sent to',
    async () => ({ credentialId: await created('t1', []), url: `http://${host}/200` }),
    'CREDENTIAL_HOST',
  ],
  [
    'at a private address',
    async () => ({ credentialId: await created('t2', ['127.0.0.1:1']), url: 'http://127.0.0.1:1/' }),
    'SSRF_BLOCKED',
  ],
  ['at no address', async () => ({ credentialId: await created('t3', [host]), url: 'nonsense' }), 'INVALID_URL'],
  ['at a peer that hangs up', async () => ({ credentialId: await created('t4', [host]), url: `http://${host}/` }), 'HTTP_CONNECTION'],
  [
    'that no request carries',
    async () => ({ credentialId: await created('t5', [host], { type: 'smtp', data: { host: 'mail' } }), url: `http://${host}/200` }),
    'CREDENTIAL_TYPE',
  ],
  ['that is not there', async () => ({ credentialId: crypto.randomUUID(), url: `http://${host}/200` }), 'NOT_FOUND'],
])('a test of a credential %s is refused', async (_case, given, code) => {
  const answer = await server.query(acme.token, TEST, { input: await given() });
  expect(answer.errors).toMatchObject([{ extensions: { code } }]);
  expect(JSON.stringify([answer, server.logged])).not.toContain('topsecret');
});

test('a server without keys refuses to seal', async () => {
  const keyless = await serveGraphql(db);
  const answer = await keyless.query(acme.token, CREATE, { input: { name: 'x', type: 'bearer', data: { token: 'abcdef' } } });
  expect(answer.errors).toMatchObject([{ extensions: { code: 'VAULT_UNAVAILABLE' } }]);
  await keyless.close();
});

test('the requests and statements of docs/how-to/credentials.md do what the page says', async () => {
  const page = await readFile(new URL('../../docs/how-to/credentials.md', import.meta.url), 'utf8');
  const blocks = (info: string) => [...page.matchAll(new RegExp(`^\`\`\`${info}\\n(.*?)^\`\`\`$`, 'gms'))].map((block) => block[1]!);
  const demo = await createOrganization(db, 'Demo');
  await db.admin.query(`update organizations set slug = 'demo' where id = $1`, [demo.id]);
  const answers = await Promise.all(
    blocks('graphql').map((document) =>
      server.query(demo.token, document.replace('…', 'topsecret'), { id: crypto.randomUUID(), value: 'topsecret' }),
    ),
  );
  const [created, tested, begun, set] = answers;
  expect(answers).toHaveLength(4);
  expect(created).toMatchObject({ data: { createCredential: { credential: { id: expect.any(String) } } } });
  expect(set).toMatchObject({ data: { setVariable: { variable: { name: 'partner_key', value: null, isSecret: true } } } });
  for (const { errors } of [tested!, begun!]) expect(errors).toMatchObject([{ extensions: { code: 'NOT_FOUND' } }]);

  const client = await connect(db.adminUrl);
  try {
    const seal = (value: unknown) => {
      const id = newSecretId();
      return { id, envelope: keys.vault.seal({ organizationId: demo.id, id, version: 1 }, value) };
    };
    const credential = seal({ token: 'topsecret' });
    await client.query('select set_context($1, $2)', [demo.id, demo.userId]);
    await client.query(`select from delete_credential((select id from credentials where name = 'crm' and organization_id = $1))`, [
      demo.id,
    ]);
    const { rows } = await client.query<{ id: string }>(`select id from create_team('Sales', 'sales')`);
    const values = { id: credential.id, envelope: credential.envelope, sealed: JSON.stringify(seal('topsecret')), team: rows[0]!.id };
    const results = [];
    for (const block of blocks('sql')) {
      const statements = Object.entries(values).reduce((text, [name, value]) => text.replaceAll(`:'${name}'`, `'${value}'`), block);
      results.push(...[(await client.query(statements)) as unknown].flat().map((each) => (each as { rows: unknown[] }).rows));
    }
    expect(results).toContainEqual([{ name: 'crm', version: 1 }]);
    expect(results).toContainEqual([{ name: 'partner_key', value: null, is_secret: true }]);
    expect(results.filter((each) => JSON.stringify(each) === '[{"name":"crm"}]')).toHaveLength(4);
  } finally {
    await client.end();
  }
});
