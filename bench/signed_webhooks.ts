/** Measures signed webhooks beside unsigned ones: the same workflow, in turns, over HTTP, served by a separate process. */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import autocannon from 'autocannon';
import pg from 'pg';
import { signStandard } from '../src/signatures/standard.ts';
import { createKeyFile } from '../src/vault/keys.ts';
import { Vault, newSecretId } from '../src/vault/vault.ts';
import type { Outcome } from './measure.ts';
import type { BenchServer } from './server.ts';

const ROUNDS = 4;
const SECONDS = 2;
const CONNECTIONS = 50;
const SECRET = `whsec_${randomBytes(32).toString('base64')}`;

const nodes = (path: string, more: Record<string, unknown>, credentials: Record<string, unknown> = {}) => [
  { id: 'hook', type: 'webhookTrigger', properties: { path, method: 'POST', respond: 'lastNode', ...more }, ...credentials },
  { id: 'price', type: 'set', properties: { assign: { net: '{{ $.prev.total }}' } } },
  { id: 'big', type: 'if', properties: { when: '$.prev.net > 100' } },
  { id: 'note', type: 'set', properties: { assign: { size: 'big' } } },
];

/** Measures requests per second: without a signature, with an id as key, and signed, of which each id is a key. */
export async function measureSignedWebhooks(server: BenchServer): Promise<Outcome[]> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-bench-keys-'));
  const file = join(folder, 'keys.json');
  await createKeyFile(file);
  await createCredential(server, await Vault.read({ file }));
  await server.publish('unsigned', nodes('/unsigned', {}));
  await server.publish('keyed', nodes('/keyed', { dedupeHeader: 'webhook-id' }));
  const signature = { authentication: 'hmac', signature: { scheme: 'standard' } };
  await server.publish('signed', nodes('/signed', signature, { credentials: { auth: 'bench' } }));
  const env = { ...process.env, INTAKE_URL: server.url('flowgres_intake'), INTAKE_KEYS: file };
  const intake = fork(new URL('./intake.ts', import.meta.url), { env });
  const [port] = (await once(intake, 'message')) as [number];
  const rates: Record<string, number> = { unsigned: 0, keyed: 0, signed: 0 };
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const kind of Object.keys(rates)) {
      const rate = await fire(`http://127.0.0.1:${port}/hooks/${server.webhookKey}/${kind}`);
      // The first round warms up.
      if (round > 0) rates[kind]! += rate / ROUNDS;
    }
  }
  intake.kill('SIGTERM');
  await once(intake, 'exit');
  await rm(folder, { recursive: true });
  const named = { unsigned: 'without signature', keyed: 'without signature, with a key', signed: 'signed, which has a key' };
  return [
    ...Object.entries(named).map(([kind, name]) => ({
      name: `webhook, set, if, set, ${name}, ${CONNECTIONS} connections`,
      rate: rates[kind]!,
    })),
    `Signed webhooks per unsigned one: ${(rates['signed']! / rates['unsigned']!).toFixed(2)}; per unsigned one with a key: ${(rates['signed']! / rates['keyed']!).toFixed(2)}.`,
  ];
}

/** Every request has an id of its own and a signature, so that the client's work is the same for all. */
async function fire(url: string): Promise<number> {
  const body = JSON.stringify({ total: 120 });
  const {
    '2xx': accepted,
    non2xx,
    errors,
  } = await autocannon({
    url,
    connections: CONNECTIONS,
    duration: SECONDS,
    requests: [
      {
        method: 'POST',
        setupRequest: (request) => {
          const signed = signStandard({ id: randomBytes(12).toString('base64url'), now: Date.now(), body }, [SECRET]);
          return { ...request, body, headers: { 'content-type': 'application/json', ...signed } };
        },
      },
    ],
  });
  if (non2xx || errors) throw new Error(`${non2xx} answers other than 2xx, ${errors} errors`);
  return accepted / SECONDS;
}

async function createCredential(server: BenchServer, vault: Vault): Promise<void> {
  const client = new pg.Client({ connectionString: server.adminUrl });
  await client.connect();
  const id = newSecretId();
  const envelope = vault.seal({ organizationId: server.organizationId, id, version: 1 }, { secrets: [SECRET] });
  await client.query('select set_context($1)', [server.organizationId]);
  await client.query(`select from create_credential(id => $1, name => 'bench', type => 'hmac', envelope => $2, is_shared => true)`, [
    id,
    envelope,
  ]);
  await client.end();
}
