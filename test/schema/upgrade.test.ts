/** What `flowgres migrate` does to a database that is there, and what it refuses. */
import type pg from 'pg';
import { describe, expect, test } from 'vitest';
import { applyCode } from '../../src/database/apply_sources.ts';
import { connect } from '../../src/database/connections.ts';
import { releaseConnections, upgrade } from '../../src/database/migrate.ts';
import { requireUpgradable, schemaProblems } from '../../src/database/schema_state.ts';
import { type Sources, readSources } from '../../src/database/sources.ts';
import { type Change, changedSources } from '../helpers/builds.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

const own = readSources();
/** A file of kind code that makes one function, and another that names it. */
const FUNCTION = '\ncreate or replace function private.answer() returns int language sql stable as $$ select 42 $$;\n';
const ANSWER = { edit: { 'sql/90_monitor/queue.sql': (text: string) => text + FUNCTION } };

/** `flowgres migrate` of a build, without the roles, the queue and the jobs. */
async function upgradeTo(db: TestDatabase, sources: Sources, { downgrade = false } = {}): Promise<void> {
  const client = await connect(db.adminUrl);
  try {
    await requireUpgradable(client, sources, downgrade);
    await upgrade(client, db.adminUrl, sources);
  } finally {
    releaseConnections();
    await client.end();
  }
}
const value = async (admin: pg.Pool, sql: string) => Object.values<unknown>((await admin.query(sql)).rows[0] ?? {})[0];
const times = async (admin: pg.Pool) => (await admin.query('select path, applied_at from private.code_files order by path')).rows;

describe('code', () => {
  test('that has changed is applied, and no other', async () => {
    const db = await createTestDatabase();
    const before = await times(db.admin);
    await upgradeTo(db, await changedSources(ANSWER));
    expect(await value(db.admin, 'select private.answer()')).toBe(42);
    const after = await times(db.admin);
    expect(after.filter((row) => !before.some((old) => old.path === row.path && +old.applied_at === +row.applied_at))).toEqual([
      { path: '90_monitor/queue.sql', applied_at: expect.any(Date) },
    ]);
    expect((await db.admin.query('select digest from monitor.builds()')).rows).toEqual([
      { digest: own.digest },
      { digest: (await changedSources(ANSWER)).digest },
    ]);
  });

  test('that fails leaves nothing, and its error names the file and the line', async () => {
    const db = await createTestDatabase();
    const lines = own.files.find(({ path }) => path === '95_api/audit.sql')!.sql.split('\n').length;
    const broken = await changedSources({
      edit: { ...ANSWER.edit, 'sql/95_api/audit.sql': (text) => `${text}\n-- größer\nselect private.no_such_function();\n` },
    });
    await expect(upgradeTo(db, broken)).rejects.toMatchObject({
      code: 'SOURCE_FAILED',
      message: `sql/95_api/audit.sql:${lines + 2} function private.no_such_function() does not exist`,
    });
    expect(await value(db.admin, `select to_regproc('private.answer')`)).toBeNull();
    expect((await db.admin.query('select from monitor.builds()')).rowCount).toBe(1);
  });

  test('that depends on a function with a new signature is applied again once the old one is dropped', async () => {
    const db = await createTestDatabase();
    const policy = (call: string) =>
      `\ndrop policy if exists answer on private.test_mode;\ncreate policy answer on private.test_mode using (${call} = 42);\n`;
    const withFunction = (sql: string, dropped = ''): Change => ({
      edit: {
        'sql/90_monitor/queue.sql': (text) => text + sql,
        'sql/95_api/audit.sql': (text) => text + policy('private.answer()'),
        ...(dropped ? { 'sql/dropped.sql': (text: string) => text + dropped } : {}),
      },
    });
    await upgradeTo(db, await changedSources(withFunction(FUNCTION)));
    const drop = 'drop function if exists private.answer();\n';
    const next = FUNCTION.replace('answer()', 'answer(p_plus int default 0)');
    await expect(upgradeTo(db, await changedSources(withFunction(next, drop)))).rejects.toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringMatching(/^sql\/dropped.sql:\d+ cannot drop function private.answer\(\) because other objects depend on it/),
    });
    const before = await times(db.admin);
    const after = withFunction(next, `drop policy if exists answer on private.test_mode;\n${drop}`);
    await upgradeTo(db, await changedSources(after));
    expect(await value(db.admin, `select to_regprocedure('private.answer()')`)).toBeNull();
    expect(await value(db.admin, `select qual from pg_policies where policyname = 'answer'`)).toBe('(private.answer() = 42)');
    const applied = (await times(db.admin)).filter((row) => !before.some((old) => +old.applied_at === +row.applied_at));
    expect(applied.map(({ path }) => path)).toEqual(expect.arrayContaining(['90_monitor/queue.sql', '95_api/audit.sql', 'dropped.sql']));
  });

  test('whose file is gone is forgotten', async () => {
    const db = await createTestDatabase();
    const moved = await changedSources({
      edit: {
        'sql/90_monitor/index.sql': (text) => text.replace('90_monitor/queue.sql', '90_monitor/waiting_line.sql'),
        'sql/90_monitor/waiting_line.sql': () => own.files.find(({ path }) => path === '90_monitor/queue.sql')!.sql,
      },
    });
    await upgradeTo(db, moved);
    const { rows } = await db.admin.query(`select path from private.code_files where path ~ '/(queue|waiting_line)'`);
    expect(rows).toEqual(expect.arrayContaining([{ path: '90_monitor/waiting_line.sql' }]));
    expect(rows).not.toContainEqual({ path: '90_monitor/queue.sql' });
  });

  test('waits for those who hold its locks, and lets others pass meanwhile', async () => {
    const db = await createTestDatabase();
    const change = await changedSources({
      edit: { 'sql/95_api/audit.sql': (text) => `${text}\nlock table private.test_mode in access exclusive mode;\n` },
    });
    const holder = await connect(db.adminUrl);
    await holder.query('begin; lock table private.test_mode in access share mode');
    const upgraded = upgradeTo(db, change);
    const waits = () => value(db.admin, `select count(*) from pg_locks where mode = 'AccessExclusiveLock' and not granted`);
    await expect.poll(waits).toBe(1);
    // The first attempt gives way: somebody else gets through behind it.
    await db.admin.query('lock table private.test_mode in access share mode').catch(() => undefined);
    expect(await value(db.admin, 'select count(*) from private.test_mode')).toBe(0);
    await holder.query('commit');
    await holder.end();
    await upgraded;
    expect((await db.admin.query('select from monitor.builds()')).rowCount).toBe(2);
  });
});

describe('a migration', () => {
  test('runs before the code, which may need it', async () => {
    const db = await createTestDatabase();
    const change = await changedSources({
      migrations: ['set local role flowgres_owner;\nalter table private.test_mode add column answer int;\nreset role;'],
      edit: { 'sql/95_api/audit.sql': (text) => `${text}\ncomment on column private.test_mode.answer is 'Is there.';\n` },
    });
    await upgradeTo(db, change);
    expect(await value(db.admin, `select col_description('private.test_mode'::regclass, 3)`)).toBe('Is there.');
    await upgradeTo(db, change);
  });

  test('that removes what a code file makes has the file applied again', async () => {
    const db = await createTestDatabase();
    const policies = () => value(db.admin, `select count(*) from pg_policies where tablename = 'webhooks'`);
    const before = await policies();
    const change = await changedSources({
      migrations: [
        `set local role flowgres_owner;
drop policy webhooks_flowgres_user_select on public.webhooks;
delete from private.code_files where path = '60_triggers/policies.sql';
reset role;`,
      ],
    });
    await upgradeTo(db, change);
    expect(await policies()).toBe(before);
  });

  test('that builds an index concurrently goes on after an interruption', async () => {
    const db = await createTestDatabase();
    await db.admin.query('create index test_mode_frozen_at_idx on private.test_mode (frozen_at)');
    await db.admin.query(`update pg_index set indisvalid = false where indexrelid = 'private.test_mode_frozen_at_idx'::regclass`);
    const change = await changedSources({
      migrations: ['--! no-transaction\ncreate index concurrently if not exists test_mode_frozen_at_idx on private.test_mode (frozen_at);'],
    });
    await upgradeTo(db, change);
    expect(await value(db.admin, `select indisvalid from pg_index where indexrelid = 'private.test_mode_frozen_at_idx'::regclass`)).toBe(
      true,
    );
  });
});

describe('migrate refuses', () => {
  const refusal = async (db: TestDatabase, sources = own) =>
    await upgradeTo(db, sources).then(
      () => 'nothing',
      ({ code, message }: { code: string; message: string }) => `${code}: ${message}`,
    );

  test('a database with schemas of another origin', async () => {
    const db = await createTestDatabase({ empty: true });
    await db.admin.query('create schema engine');
    expect(await refusal(db)).toMatch(/^SCHEMA_UNKNOWN: .* no record of what it was built from/);
  });

  test('a database of a build whose migrations are not those of this one', async () => {
    const db = await createTestDatabase();
    await db.admin.query(`update graphile_migrate.migrations set hash = 'sha1:other'`);
    expect(await refusal(db)).toMatch(/^SCHEMA_UNKNOWN: .* its migration 000001.sql is not that of this build/);
  });

  test('an older build, by migration, by release and by digest; the last one can be forced', async () => {
    const byMigration = await createTestDatabase();
    await upgradeTo(byMigration, await changedSources({ migrations: ['set local role flowgres_owner;\nreset role;'] }));
    expect(await refusal(byMigration)).toMatch(/^SCHEMA_NEWER: .* it has migration 00000\d.sql, this build ends with/);

    const byRelease = await createTestDatabase();
    await upgradeTo(byRelease, await changedSources({ ...ANSWER, version: '99.0.0' }));
    expect(await refusal(byRelease, await changedSources({ edit: { 'sql/dropped.sql': (text) => `${text}-- other\n` } }))).toMatch(
      /^SCHEMA_NEWER: .* it is of release 99.0.0, this build is of/,
    );

    const byDigest = await createTestDatabase();
    await upgradeTo(byDigest, await changedSources(ANSWER));
    expect(await refusal(byDigest)).toMatch(/^SCHEMA_NEWER: .* a later build of the same release has replaced this one/);
    await upgradeTo(byDigest, own, { downgrade: true });
    expect(await schemaProblems(byDigest.pool('flowgres_monitor'), own)).toEqual([]);
  });

  test('a build whose processes speak an older protocol, and one that was committed earlier; both can be forced', async () => {
    const protocol = (text: string) => text.replace(/^--!protocol .*$/m, '--!protocol 999');
    const byProtocol = await createTestDatabase();
    await upgradeTo(byProtocol, await changedSources({ edit: { 'sql/index.sql': protocol } }));
    const other = await changedSources({ edit: { 'sql/dropped.sql': (text) => `${text}-- other\n` } });
    expect(await refusal(byProtocol, other)).toMatch(/^SCHEMA_NEWER: .* speak protocol 999, those of this build \d+\. Nothing was changed/);

    const byCommit = await createTestDatabase();
    const at = (committedAt: string | null) => ({ ...other, committedAt });
    await upgradeTo(byCommit, { ...(await changedSources(ANSWER)), committedAt: '9999-01-02T00:00:00Z' });
    expect(await refusal(byCommit, at('9999-01-01T00:00:00Z'))).toMatch(
      /^SCHEMA_NEWER: .* committed on 9999-01-02T.*, this one on 9999-01-01/,
    );
    expect(await refusal(byCommit, at('9999-01-03T00:00:00Z'))).toBe('nothing');
    await upgradeTo(byCommit, own, { downgrade: true });
    expect(await schemaProblems(byCommit.pool('flowgres_monitor'), own)).toEqual([]);
  });

  test('and the first migration by itself refuses, too', async () => {
    const guard = (await import('node:fs')).readFileSync(`${own.folder}/migrations/committed/000001-baseline.sql`, 'utf8');
    const empty = await createTestDatabase({ empty: true });
    await expect(empty.admin.query(guard)).rejects.toMatchObject({ code: '55000', message: expect.stringContaining('is empty') });
    await expect((await createTestDatabase()).admin.query(guard)).rejects.toMatchObject({ code: '55000' });
  });
});

describe('a process is ready', () => {
  test('on the schema of its own build, and on a later one of the same protocol', async () => {
    const db = await createTestDatabase();
    const monitor = db.pool('flowgres_monitor');
    expect(await schemaProblems(monitor, own)).toEqual([]);
    const next = await changedSources(ANSWER);
    expect(await schemaProblems(monitor, next)).toEqual([expect.stringMatching(/: run flowgres migrate/)]);
    await upgradeTo(db, next);
    expect(await schemaProblems(monitor, next)).toEqual([]);
    expect(await schemaProblems(monitor, own)).toEqual([]);
  });

  test('not on one of another protocol, nor without any', async () => {
    const db = await createTestDatabase();
    const next = await changedSources({ edit: { 'sql/index.sql': (text) => text.replace(/^--!protocol .*$/m, '--!protocol 999') } });
    await upgradeTo(db, next);
    expect(await schemaProblems(db.pool('flowgres_monitor'), own)).toEqual([expect.stringMatching(/cannot work with/)]);
    const empty = await createTestDatabase({ empty: true });
    expect(await schemaProblems(empty.pool('flowgres_monitor'), own)).toEqual([expect.stringMatching(/no schema of Flowgres/)]);
  });
});

test('the list of what was dropped removes nothing that the sources make', async () => {
  const { admin, adminUrl } = await createTestDatabase();
  await admin.query(`delete from private.code_files where path = 'dropped.sql'`);
  const client = await connect(adminUrl);
  expect(await applyCode(client, own).finally(() => client.end())).toEqual(['dropped.sql']);
});
