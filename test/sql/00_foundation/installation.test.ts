/** A restored copy has no effects until a DBA adopts it. */
import { describe, expect, test } from 'vitest';
import { connect } from '../../../src/database/connections.ts';
import { archive } from '../../../src/archive/archive.ts';
import { type TestDatabase, createTestDatabase } from '../../helpers/database.ts';

/** What a copy brings along: the row of another server, or of another database of this one. */
const OTHER_SERVER = 'update private.installation set system_identifier = 1';
const OTHER_DATABASE = 'update private.installation set database_oid = 1';

/** In a new session: settings of a database come with it. */
const problem = async (db: TestDatabase): Promise<unknown> => {
  const client = await connect(db.url('flowgres_monitor'));
  const { rows } = await client.query('select monitor.copy_problem() as problem').finally(() => client.end());
  return rows[0].problem;
};
const asDba = async (db: TestDatabase, sql: string) => {
  const client = await db.admin.connect();
  try {
    await client.query('set role flowgres_dba');
    return (await client.query(sql)).rows;
  } finally {
    client.release(true);
  }
};

describe('a database is a copy', () => {
  test.each([
    ['whose row was written on another server', OTHER_SERVER],
    ['whose row was written in another database of the server', OTHER_DATABASE],
    ['whose row is gone', 'delete from private.installation'],
    ['whose settings say so', `do $$ begin execute format('alter database %I set flowgres.inert = on', current_database()); end $$`],
  ])('%s', async (_, change) => {
    const db = await createTestDatabase();
    expect(await problem(db)).toBeNull();
    await db.admin.query(change);
    expect(await problem(db)).toMatch(/no effects, schedules, mails or retention here/);
  });

  test('until a DBA adopts it, and nobody else', async () => {
    const db = await createTestDatabase();
    await db.admin.query(OTHER_SERVER);
    for (const role of ['flowgres_worker', 'flowgres_maintenance', 'flowgres_monitor', 'flowgres_api', 'flowgres_intake'] as const) {
      await expect(db.pool(role).query('select engine.adopt_installation()'), role).rejects.toMatchObject({ code: '42501' });
    }
    expect(await asDba(db, 'select "check", severity, fix from monitor.doctor() where severity = \'critical\'')).toEqual([
      { check: 'installation', severity: 'critical', fix: 'select engine.adopt_installation()' },
    ]);
    expect(await asDba(db, 'select engine.adopt_installation() as was_copy')).toEqual([{ was_copy: true }]);
    expect(await problem(db)).toBeNull();
    expect((await db.admin.query('select adopted_by from private.installation')).rows).toEqual([{ adopted_by: 'postgres' }]);
    expect(await asDba(db, 'select engine.adopt_installation() as was_copy')).toEqual([{ was_copy: false }]);
  });

  test('and a copy of the copy is one again', async () => {
    const db = await createTestDatabase({ unchecked: true });
    await db.admin.query('select engine.adopt_installation()');
    await db.disconnect();
    const copy = await createTestDatabase({ template: db.name });
    expect([await problem(db), await problem(copy)]).toEqual([null, expect.stringContaining('is a copy')]);
    await copy.admin.query('select engine.adopt_installation()');
  });
});

describe('in a copy', () => {
  test('SQL takes no mail, fires no schedule, begins no job, and lets nothing leave', async () => {
    const db = await createTestDatabase({ unchecked: true });
    await db.admin.query(`
      select private.send_mail('ada@acme.example', 'Hello', 'Ada');
      select partitions.create('public.workflow_runs', now() - interval '30 months');
      insert into private.throttles (key, used, resets_at) values ('\\x00', 1, now() - interval '1 day');
      update partitions.managed_tables set retention = '1 year';
      select cron.schedule('every second', '1 second', 'select 1')`);
    await db.admin.query(OTHER_SERVER);
    const worker = db.pool('flowgres_worker');
    const count = async (sql: string) => (await worker.query(sql)).rowCount;
    const leaving = async () => (await db.admin.query(`select from partitions.retire('public.workflow_runs') where done`)).rowCount;
    expect(await count('select from engine.claim_mails()')).toBe(0);
    expect(await count('select from engine.due_schedules()')).toBe(0);
    await worker.query('select cron.lead()');
    expect(await count(`select from cron.tick('{}', true)`)).toBe(0);
    expect(await leaving()).toBe(0);
    expect((await db.admin.query(`select action, detail from partitions.retire()`)).rows).toEqual([
      { action: 'skip', detail: expect.stringContaining('is a copy') },
    ]);
    expect((await db.admin.query('select from engine.delete_expired()')).rowCount).toBe(0);
    await db.admin.query('call engine.delete_all_expired()');
    const report = { step: () => () => undefined, done: () => undefined };
    await expect(archive(db.url('flowgres_maintenance'), { report })).rejects.toMatchObject({ code: 'WF015' });
    await expect(worker.query(`select engine.heartbeat(gen_random_uuid(), '[]')`)).rejects.toMatchObject({
      code: 'WF015',
      hint: expect.stringContaining('engine.adopt_installation()'),
    });

    await db.admin.query('select engine.adopt_installation()');
    expect(await count('select from engine.claim_mails()')).toBe(1);
    expect(await leaving()).toBe(1);
    expect((await db.admin.query('select from engine.delete_expired() where deleted > 0')).rowCount).toBe(1);
    await expect(worker.query(`select engine.heartbeat(gen_random_uuid(), '[]')`)).resolves.toBeDefined();
  });
});
