/** Measures the vault: how fast secrets are opened, in memory and from the database, and how long 10,000 take to rotate. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { connect } from '../src/database/connections.ts';
import { createEnginePool } from '../src/engine/engine.ts';
import { Credentials } from '../src/vault/credentials.ts';
import { type Envelope, parseEnvelope } from '../src/vault/envelope.ts';
import { addKey, createKeyFile } from '../src/vault/keys.ts';
import { rotateSecrets } from '../src/vault/rotate.ts';
import { Vault, newSecretId } from '../src/vault/vault.ts';
import { type Outcome, throughput } from './measure.ts';
import type { BenchServer } from './server.ts';

const SECRETS = 10_000;
const SECONDS = 3;
const CALLERS = 8;
/** As large as an access token. */
const DATA = { token: 'x'.repeat(1_000) };

/** Measures decrypts per second, and secrets per second of a rotation. */
export async function measureVault(server: BenchServer): Promise<Outcome[]> {
  const folder = await mkdtemp(join(tmpdir(), 'flowgres-bench-keys-'));
  const file = join(folder, 'keys.json');
  await createKeyFile(file);
  const vault = await Vault.read({ file });
  const { organizationId } = server;
  const sealed = Array.from({ length: SECRETS }, () => {
    const id = newSecretId();
    return { id, envelope: parseEnvelope(vault.seal({ organizationId, id, version: 1 }, DATA)) };
  });
  const names = await store(server, sealed);
  let calls = 0;
  const next = () => {
    calls += 1;
    return calls % SECRETS;
  };

  const memory = await throughput(1, SECONDS, () => {
    const { id, envelope } = sealed[next()]!;
    return vault.open({ organizationId, id, version: 1 }, envelope);
  });
  const pool = createEnginePool(server.url('flowgres_worker'), 'bench vault');
  const credentials = new Credentials(pool, vault);
  const read = await throughput(CALLERS, SECONDS, () => credentials.open({ organizationId, name: names[next()]! }));
  await pool.end();

  await addKey(file);
  await vault.ring.reload();
  const client = await connect(server.url('flowgres_maintenance'));
  const startedAt = performance.now();
  const { rewrapped, failed } = await rotateSecrets(client, vault.ring);
  const seconds = (performance.now() - startedAt) / 1_000;
  await client.end();
  await rm(folder, { recursive: true });
  // Of other cases of the same run secrets may be left, whose keys are gone.
  if (rewrapped < SECRETS) throw new Error(`${rewrapped} secrets were wrapped anew: ${JSON.stringify(failed)}`);
  return [
    { name: 'a secret of 1 kB opened in memory', rate: memory.rate },
    { name: `a credential read and opened, ${CALLERS} callers`, rate: read.rate, p50: read.p50, p95: read.p95 },
    { name: `a master key replaced, ${SECRETS.toLocaleString('en')} secrets`, rate: rewrapped / seconds },
    `${rewrapped.toLocaleString('en')} secrets are wrapped by a new master key in ${seconds.toFixed(1)} s.`,
  ];
}

/** Writes credentials past the API, which would count each against the plan. Returns their names. */
async function store(server: BenchServer, sealed: { id: string; envelope: Envelope }[]): Promise<string[]> {
  const client = new pg.Client({ connectionString: server.adminUrl });
  await client.connect();
  const ids = sealed.map(({ id }) => id);
  const names = ids.map((id) => `bench ${id}`);
  await client.query(
    `insert into public.credentials (id, organization_id, name, type, is_shared)
     select c.id, $1, c.name, 'bearer', true from unnest($2::uuid[], $3::text[]) as c (id, name)`,
    [server.organizationId, ids, names],
  );
  await client.query(
    `insert into private.secrets (id, organization_id, version, key_id, wrapped_key, sealed)
     select s.id, $1, 1, s.key_id, s.wrapped_key, s.sealed
     from unnest($2::uuid[], $3::text[], $4::bytea[], $5::bytea[]) as s (id, key_id, wrapped_key, sealed)`,
    [
      server.organizationId,
      ids,
      sealed.map(({ envelope }) => envelope.keyId),
      sealed.map(({ envelope }) => envelope.wrappedKey),
      sealed.map(({ envelope }) => envelope.sealed),
    ],
  );
  await client.query('analyze public.credentials, private.secrets');
  await client.end();
  return names;
}
