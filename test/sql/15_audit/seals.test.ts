/** Seals of the audit log: each way to forge it is found by monitor.verify_audit(). */
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';
import { type TestOrganization, createOrganization } from '../../helpers/factory.ts';
import { freezeClock } from '../../helpers/partitions.ts';

/** Under this the log has what belongs to no organization. */
const NOBODY = '00000000-0000-0000-0000-000000000000';
let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
});
beforeEach(async () => {
  acme = await createOrganization(db);
  await threeSeals();
});

async function threeSeals(): Promise<void> {
  await seal();
  await rename('Two');
  await seal();
  await rename('Three');
  await seal();
}

/** Seals the chains of all organizations. Resolves to the seals. */
const sealAll = async (): Promise<{ organization_id: string; entries: number }[]> =>
  (await db.pool('flowgres_maintenance').query('select * from engine.seal_audit()')).rows;
const ofAcme = <R extends { organization_id: string }>(rows: R[]) => rows.filter((each) => each.organization_id === acme.id);
const seal = async () => ofAcme(await sealAll());
const rename = (name: string) => db.admin.query('update organizations set name = $2 where id = $1', [acme.id, name]);
// Of all organizations: another test's have been tampered with.
const verify = async () => ofAcme((await db.admin.query('select * from monitor.verify_audit()')).rows);
const last = async () =>
  (await db.admin.query<{ id: string }>('select id from audit_log where organization_id = $1 order by id desc limit 1', [acme.id])).rows[0]!
    .id;

/** What a superuser does who means it: triggers do not stop that. */
const tamper = async (statement: string, values: unknown[] = []) => {
  const client = await connect(db.adminUrl);
  await client.query('set session_replication_role = replica');
  await client.query(statement, values);
  await client.end();
};

test('a whole log verifies, sealed or not yet', async () => {
  expect(await verify()).toEqual([]);
  await rename('Not sealed yet');
  expect(await verify()).toEqual([]);
});

test('each organization has its own chain, and what belongs to none has one', async () => {
  const { rows } = await db.admin.query(
    'select organization_id, number::int, length(hash) as hex, unsealed::int from monitor.audit_heads() where organization_id = any ($1) order by 1',
    [[NOBODY, acme.id]],
  );
  expect(rows).toEqual([
    { organization_id: NOBODY, number: expect.any(Number), hex: 64, unsealed: 0 },
    { organization_id: acme.id, number: 3, hex: 64, unsealed: 0 },
  ]);
  expect(await seal()).toEqual([]);
});

describe('verify_audit finds', () => {
  test('a row that was changed', async () => {
    const id = await last();
    await tamper(`update audit_log set after = '{"name": "Innocent"}' where id = $1`, [id]);
    expect(await verify()).toEqual([{ organization_id: acme.id, seal: 3, entry: id, problem: 'the row was changed' }]);
  });

  test.each(['at', 'user_id', 'database_role', 'organization_id', 'row_key', 'before', 'request_id'])('another %s', async (column) => {
    const id = await last();
    const { rows } = await db.admin.query(
      `select format_type(atttypid, null) as type from pg_attribute where attrelid = 'audit_log'::regclass and attname = $1`,
      [column],
    );
    const values: Record<string, string> = {
      'timestamp with time zone': 'now()',
      uuid: 'gen_random_uuid()',
      jsonb: `'{"x": 1}'`,
      text: `'x'`,
    };
    await tamper(`update audit_log set ${column} = ${values[rows[0].type]} where id = $1`, [id]);
    expect(await verify()).toMatchObject([{ entry: id, problem: 'the row was changed' }]);
  });

  test('a row that is missing', async () => {
    const id = await last();
    await tamper('delete from audit_log where id = $1', [id]);
    expect(await verify()).toEqual([{ organization_id: acme.id, seal: 3, entry: id, problem: 'the row is missing' }]);
  });

  test('a row that was inserted', async () => {
    await tamper(
      `insert into audit_log select engine.uuid_v7(at - interval '1 second'), organization_id, at, table_name, operation, row_key, before, after,
         user_id, token_id, session_id, database_role, client_address, request_id from audit_log where id = $1`,
      [await last()],
    );
    expect(await verify()).toMatchObject([{ organization_id: acme.id, seal: null, problem: 'the row was inserted without a trace' }]);
  });

  test('a change within the minute before the seal', async () => {
    await rename('Four');
    const id = await last();
    await tamper(`update audit_log set user_id = gen_random_uuid() where id = $1`, [id]);
    expect(await verify()).toMatchObject([{ entry: id, problem: 'the row was changed' }]);
    await seal();
    expect(await verify()).toMatchObject([{ entry: id, seal: 4, problem: 'the row was changed' }]);
  });

  test('a row whose hash was changed with it', async () => {
    const id = await last();
    await tamper(`update audit_log set operation = 'delete' where id = $1`, [id]);
    await tamper(
      `update private.audit_seals as s set hashes = array[private.audit_hash(a)] from audit_log as a where a.id = $1 and s.ids = array[a.id]`,
      [id],
    );
    expect(await verify()).toEqual([{ organization_id: acme.id, seal: 3, entry: null, problem: 'the seal was changed' }]);
    // And when the seal is computed anew, the head does not fit; in the middle of the chain, the next seal.
    await tamper(`update private.audit_seals as s set hash = private.seal_hash(s) where organization_id = $1 and number = 3`, [acme.id]);
    expect(await verify()).toMatchObject([{ problem: 'the newest seal is missing or was exchanged' }]);
  });

  test('a seal in the middle that was computed anew', async () => {
    await tamper(`update private.audit_seals set sealed_at = sealed_at + interval '1 ms' where organization_id = $1 and number = 2`, [
      acme.id,
    ]);
    await tamper(`update private.audit_seals as s set hash = private.seal_hash(s) where organization_id = $1 and number = 2`, [acme.id]);
    expect(await verify()).toEqual([{ organization_id: acme.id, seal: 3, entry: null, problem: 'the seal before it was exchanged' }]);
  });

  test('rows and their seal that are missing together', async () => {
    const id = await last();
    await tamper('delete from private.audit_seals where organization_id = $1 and number = 2', [acme.id]);
    await tamper(`delete from audit_log where organization_id = $1 and after = '{"name": "Two"}'`, [acme.id]);
    expect(await verify()).toEqual([{ organization_id: acme.id, seal: 3, entry: null, problem: 'seals before it are missing' }]);
    await tamper('delete from private.audit_seals where organization_id = $1 and number = 3', [acme.id]);
    await tamper('delete from audit_log where id = $1', [id]);
    expect(await verify()).toEqual([
      { organization_id: acme.id, seal: 3, entry: null, problem: 'the newest seal is missing or was exchanged' },
    ]);
  });

  test('what is wrong in one organization, when only that one is asked for', async () => {
    const other = await createOrganization(db, 'Other');
    await tamper('delete from audit_log where id = $1', [await last()]);
    expect((await db.admin.query('select * from monitor.verify_audit($1)', [acme.id])).rows).toHaveLength(1);
    expect((await db.admin.query('select * from monitor.verify_audit($1)', [other.id])).rows).toEqual([]);
  });
});

test('rows of a transaction that commits late are sealed after others that began later', async () => {
  const late = await connect(db.adminUrl);
  await late.query('begin');
  await late.query(`update organizations set name = 'Late' where id = $1`, [acme.id]);
  const other = await createOrganization(db, 'Other');
  expect((await sealAll()).map(({ organization_id }) => organization_id)).toContain(other.id);
  await late.query('commit');
  await late.end();
  expect(await seal()).toMatchObject([{ organization_id: acme.id, entries: 1 }]);
  expect(await verify()).toEqual([]);
});

test('two who seal at once leave one chain', async () => {
  for (let round = 0; round < 5; round += 1) {
    await Promise.all([rename(`Round ${round}`), ...Array.from({ length: 5 }, seal)]);
  }
  await seal();
  expect(await verify()).toEqual([]);
});

test('a statement that changes thousands of rows is sealed in pieces', async () => {
  await db.admin.query(
    `insert into workflows (organization_id, name, definition) select $1, 'W' || n, '{}' from generate_series(1, 2500) as n`,
    [acme.id],
  );
  expect((await seal()).map(({ entries }) => entries)).toEqual([1000, 1000, 500]);
  expect(await verify()).toEqual([]);
});

/** They move the clock of their database by years. */
describe('after years', () => {
  beforeEach(async () => {
    db = await createTestDatabase();
    acme = await createOrganization(db);
    await threeSeals();
  });

  test('months that have left take their seals along; what remains verifies', async () => {
    const later = async (at: string, name: string) => {
      await freezeClock(db, at);
      await db.admin.query('select * from partitions.maintain()');
      await rename(name);
      await seal();
    };
    const year = new Date().getUTCFullYear() + 2;
    await later(`${year}-03-31T23:59:59Z`, 'End of March');
    await rename('Sealed in April');
    await later(`${year}-04-01T00:00:30Z`, 'April');
    await later(`${year + 1}-04-15T00:00:00Z`, 'A year later');
    await db.admin.query('select * from partitions.retire()');
    const { rows } = await db.admin.query(`select after ->> 'name' as name from audit_log where organization_id = $1 order by id`, [
      acme.id,
    ]);
    expect(rows.map(({ name }) => name)).toEqual(['April', 'A year later']);
    expect(await verify()).toEqual([]);
    await tamper(`delete from audit_log where organization_id = $1 and after ->> 'name' = 'April'`, [acme.id]);
    expect(await verify()).toMatchObject([{ problem: 'the row is missing' }]);
  });

  test('an organization that was silent until all its seals had left goes on with its chain', async () => {
    const year = new Date().getUTCFullYear() + 5;
    await freezeClock(db, `${year}-01-01T00:00:00Z`);
    await db.admin.query('select * from partitions.maintain()');
    await db.admin.query('select * from partitions.retire()');
    expect(await verify()).toEqual([]);
    await rename('Back again');
    expect(await seal()).toEqual([{ organization_id: acme.id, number: 4, entries: 1 }]);
    expect(await verify()).toEqual([]);
  });
});
