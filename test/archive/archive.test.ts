/** Archives in files: written, read back, dropped from the database, and brought back. */
import { appendFile, chmod, mkdir, readFile, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { userInfo } from 'node:os';
import { describe, expect, test } from 'vitest';
import { describeError } from '../../src/database/describe_error.ts';
import { archive } from '../../src/archive/archive.ts';
import type { ArchiveOptions } from '../../src/archive/options.ts';
import { restore } from '../../src/archive/restore.ts';
import { connect } from '../../src/database/connections.ts';
import { archived, contentOf, monthsOfRuns } from '../helpers/archive.ts';
import { temporaryFolder } from '../helpers/cli.ts';
import type { TestDatabase } from '../helpers/database.ts';
import { databaseAt, freezeClock, lines, manageReadings } from '../helpers/partitions.ts';
import { tamper } from '../helpers/tamper.ts';

const quiet = { step: () => () => undefined, done: () => undefined };
const PERIOD = '2025-01-01';
const MONTH = 'workflow_runs_y2025m01';

const archiveMonth = (db: TestDatabase, more: Partial<ArchiveOptions> = {}) =>
  archive(db.url('flowgres_maintenance'), { period: PERIOD, report: quiet, ...more });
const restoreMonth = (db: TestDatabase, folder?: string) =>
  restore(db.url('flowgres_maintenance'), { ...(folder ? { folder } : { period: PERIOD }), report: quiet });

describe.each(['csv', 'ndjson'] as const)('a month in %s', (format) => {
  test('leaves for files and comes back as it was', async () => {
    const db = await monthsOfRuns();
    const to = await temporaryFolder();
    const before = await contentOf(db);
    expect(await archiveMonth(db, { to, format })).toEqual([]);
    const end = format === 'csv' ? 'csv' : 'ndjson.gz';
    expect((await readdir(join(to, MONTH))).sort()).toEqual([
      'manifest.json',
      `workflow_events_y2025m01.${end}`,
      `workflow_events_y2025m01_late.${end}`,
      `workflow_runs_y2025m01.${end}`,
    ]);
    expect(JSON.parse(await readFile(join(to, MONTH, 'manifest.json'), 'utf8'))).toMatchObject({
      version: 1,
      group: 'public.workflow_runs',
      lower: '2025-01-01 00:00:00+00',
      upper: '2025-02-01 00:00:00+00',
      format,
      files: [
        { parent: 'public.workflow_runs', rows: 2, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
        { parent: 'public.workflow_events', rows: 2, columns: expect.arrayContaining([{ name: 'payload', type: 'jsonb' }]) },
        { parent: 'public.workflow_events', rows: 2, content: 'late' },
      ],
    });
    expect(await archived(db)).toEqual([`${format} 2`, `${format} 2`, `${format} 2`]);
    expect(await lines(db, `select relname from pg_class where relname ~ '_y2025m01' and relkind = 'r'`)).toEqual([]);
    expect(await archiveMonth(db, { to, format })).toEqual([]);

    await restoreMonth(db, join(to, MONTH));
    expect(await contentOf(db)).toEqual(before);
    await restoreMonth(db, join(to, MONTH));
    expect(await contentOf(db)).toEqual(before);
  });

  test('keeps every value of every type', async () => {
    const db = await databaseAt('2026-05-15');
    const maintenance = db.url('flowgres_maintenance');
    await manageReadings(db);
    await db.admin.query(`set role flowgres_owner;
      alter table readings add j jsonb, add n numeric, add f float8, add tags text[], add b bytea, add span interval, add at timestamptz;
      select partitions.maintain('readings');
      insert into readings (ts, note, j, n, f, tags, b, span, at) values
        ('2026-05-05', e'a "quoted", \\\\ note\\n\\r\\t\\x01', '{"a": null, "b": [1.10, "ü\\u2028"]}', 1.100, 0.1, '{a,null,"b c"}', '\\x00ff', '1 month 2 days', '-infinity'),
        ('2026-05-06', '', 'null', 'NaN', 'infinity', '{}', '', '0', '2026-01-01 00:00:00.000001+00'),
        ('2026-05-07', '\\.', null, null, null, null, null, null, null);
      reset role`);
    await freezeClock(db, '2026-11-21');
    await db.admin.query(`select partitions.maintain('readings')`);
    const rows = () => lines(db, 'select readings::text from readings order by id');
    const before = await rows();
    const to = await temporaryFolder();
    await archive(maintenance, { table: 'readings', period: '2026-05-01', to, format, report: quiet });
    expect(await rows()).toEqual([]);
    await restore(maintenance, { folder: join(to, 'readings_y2026m05'), report: quiet });
    expect(await rows()).toEqual(before);
  });
});

test('another database takes a month from its files', async () => {
  const db = await monthsOfRuns();
  const to = await temporaryFolder();
  const before = await contentOf(db);
  await archiveMonth(db, { to });
  // Everything else as it was: the same organizations and workflows, and nothing known of the archive.
  await db.admin.query(`delete from partitions.archives; alter sequence workflow_events_id_seq restart`);
  await restoreMonth(db, join(to, MONTH));
  expect(await contentOf(db)).toEqual(before);
  expect(await lines(db, `select nextval('workflow_events_id_seq') > max(id) from workflow_events where ts < '2025-02-01'`)).toEqual([
    'true',
  ]);
  expect(await archived(db)).toEqual(['csv 2', 'csv 2', 'csv 2', 'table 2', 'table 2', 'table 2']);
});

test('what reads the catalogue of archives does so in whatever order the planner tests its rows', async () => {
  const db = await monthsOfRuns();
  await archiveMonth(db, { to: await temporaryFolder() });
  await db.admin.query(`select partitions.archive('workflow_runs', '2025-02-01')`);
  await db.admin.query('analyze partitions.archives, partitions.managed_tables');
  const client = await connect(db.adminUrl);
  for (const plans of ['enable_indexscan', 'enable_seqscan']) {
    await client.query(`set enable_bitmapscan = off; set ${plans} = off`);
    const { rows: findings } = await client.query(`select detail from partitions.doctor() where "check" = 'archive'`);
    expect(findings, plans).toEqual([]);
    for (const call of [
      'archived_periods()',
      'seal_archives()',
      'retire(dry_run => true)',
      `restore_concurrently('workflow_runs', '2025-02-01')`,
    ]) {
      await expect(client.query(`select * from partitions.${call}`), `${call} without ${plans}`).resolves.toBeDefined();
    }
    await client.query('reset all');
  }
  await client.query('drop table partitions.workflow_runs_y2025m02');
  const { rows } = await client.query<{ detail: string; fix: string }>(
    `select detail, fix from partitions.doctor() where "check" = 'archive'`,
  );
  expect(rows).toEqual([{ detail: 'The archived table partitions.workflow_runs_y2025m02 is gone.', fix: expect.any(String) }]);
  await client.query(rows[0]!.fix);
  expect((await client.query(`select from partitions.doctor() where "check" = 'archive'`)).rowCount).toBe(0);
  await client.end();
});

test('a connection that ends in the middle of the work is one clear error, and the next time goes on', async () => {
  const db = await monthsOfRuns();
  const maintenance = db.url('flowgres_maintenance');
  const to = await temporaryFolder();
  const before = await contentOf(db);
  const killAt = (moment: string) => {
    let killed: Promise<unknown> | undefined;
    const strike = (what: string) => {
      if (!killed && what.includes(moment)) {
        killed = db.admin.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where usename = 'flowgres_maintenance' and datname = $1`,
          [db.name],
        );
      }
      return () => undefined;
    };
    return { step: strike, done: (line: string) => void strike(line) };
  };
  for (const moment of ['sealing', 'writing', 'verified']) {
    const lost = archive(maintenance, { period: PERIOD, to, report: killAt(moment) });
    await expect(lost, moment).rejects.toMatchObject({
      code: 'CONNECTION_LOST',
      hint: expect.stringContaining('Run the same command again'),
    });
    await lost.catch((error: unknown) =>
      expect(describeError(error)).toMatch(/^The connection to the database was lost: .+\. Run the same command again/),
    );
  }
  expect(await archive(maintenance, { period: PERIOD, to, report: quiet })).toEqual([]);
  await expect(restore(maintenance, { folder: join(to, MONTH), report: killAt('loading') })).rejects.toMatchObject({
    code: 'CONNECTION_LOST',
  });
  await restoreMonth(db, join(to, MONTH));
  expect(await contentOf(db)).toEqual(before);
});

test('policies that archive are followed, and nothing is dropped', async () => {
  const db = await monthsOfRuns();
  const maintenance = db.url('flowgres_maintenance');
  await expect(archive(maintenance, { report: quiet })).rejects.toMatchObject({ code: 'RETENTION_MISSING' });
  await db.admin.query(`update partitions.managed_tables set on_retire = 'archive'`);
  expect(await archive(maintenance, { report: quiet })).toEqual([]);
  expect(await archived(db)).toEqual(['table 2', 'table 2', 'table 2']);
  const to = await temporaryFolder();
  await archive(maintenance, { to, keepTables: true, report: quiet });
  expect(await archived(db)).toEqual(['csv 2', 'csv 2', 'csv 2', 'table 2', 'table 2', 'table 2']);
  await db.admin.query(`select partitions.drop_archive('workflow_runs', '2025-01-01')`);
  await restoreMonth(db, join(to, MONTH));
});

describe('refused, with nothing lost:', () => {
  const damages: [string, (folder: string) => Promise<unknown>, string][] = [
    ['a missing file', (folder) => rm(join(folder, `${MONTH}.csv`)), 'ARCHIVE_DAMAGED'],
    ['a truncated file', (folder) => truncate(join(folder, 'workflow_events_y2025m01.csv'), 100), 'ARCHIVE_DAMAGED'],
    ['a longer file', (folder) => appendFile(join(folder, `${MONTH}.csv`), 'x\n'), 'ARCHIVE_DAMAGED'],
    [
      'an edited file',
      async (folder) => {
        const path = join(folder, 'workflow_events_y2025m01.csv');
        await writeFile(path, (await readFile(path, 'utf8')).replace('test', 'tesT'));
      },
      'ARCHIVE_DAMAGED',
    ],
    ['no manifest', (folder) => rm(join(folder, 'manifest.json')), 'ARCHIVE_MISSING'],
    ['a manifest that is no JSON', (folder) => truncate(join(folder, 'manifest.json'), 20), 'ARCHIVE_DAMAGED'],
    ['a manifest of a later version', (folder) => edit(folder, (text) => text.replace('"version": 1', '"version": 2')), 'ARCHIVE_VERSION'],
    ['a manifest that leads elsewhere', (folder) => edit(folder, (text) => text.replace(/"file": "/, '"file": "../')), 'ARCHIVE_DAMAGED'],
    [
      'a manifest of a table that is not managed',
      (folder) => edit(folder, (text) => text.replaceAll('workflow_runs"', 'nothing"')),
      'TABLE_NOT_MANAGED',
    ],
    ['a manifest with other bounds', (folder) => edit(folder, (text) => text.replaceAll('2025-01-01 00', '2025-01-15 00')), 'WF003'],
  ];

  test('archives that are not what they were', async () => {
    const db = await monthsOfRuns();
    for (const [what, damage, code] of damages) {
      const to = await temporaryFolder();
      const before = await contentOf(db);
      await archiveMonth(db, { to });
      const folder = join(to, MONTH);
      const kept = new Map<string, Buffer>();
      for (const file of await readdir(folder)) kept.set(file, await readFile(join(folder, file)));
      await damage(folder);
      await expect(restoreMonth(db, folder), what).rejects.toMatchObject({ code });
      expect(await lines(db, `select relname from pg_class where relname ~ '_y2025m01' and relkind = 'r'`), what).toEqual([]);
      for (const [file, content] of kept) await writeFile(join(folder, file), content);
      await restoreMonth(db, folder);
      expect(await contentOf(db), what).toEqual(before);
    }
  }, 60_000);

  test('a folder that has another state of the period', async () => {
    const db = await monthsOfRuns();
    const to = await temporaryFolder();
    await archiveMonth(db, { to });
    await restoreMonth(db, join(to, MONTH));
    await tamper(db, `delete from workflow_events where ts < '2025-01-15'`);
    await expect(archiveMonth(db, { to })).rejects.toMatchObject({ code: 'ARCHIVE_EXISTS' });
    await expect(restoreMonth(db, join(to, MONTH))).rejects.toMatchObject({ code: 'WF003' });
    await archiveMonth(db, { to: await temporaryFolder() });
    await restoreMonth(db, join(to, MONTH));
    expect((await contentOf(db))[1]).toMatch(/^events 6/);
  });

  test('a file where the folder should be, and one that may not be written', async () => {
    const db = await monthsOfRuns();
    const to = await temporaryFolder();
    await writeFile(join(to, 'file'), '');
    await expect(archiveMonth(db, { to: join(to, 'file') })).rejects.toMatchObject({ code: 'ARCHIVE_FOLDER' });
    if (userInfo().uid !== 0) {
      await mkdir(join(to, 'closed'));
      await chmod(join(to, 'closed'), 0o500);
      await expect(archiveMonth(db, { to: join(to, 'closed') })).rejects.toMatchObject({ code: 'ARCHIVE_FOLDER' });
    }
    await restoreMonth(db);
    expect((await contentOf(db))[1]).toMatch(/^events 6/);
  });

  test('a form that cannot hold what the rows are', async () => {
    const db = await databaseAt('2026-05-15');
    const maintenance = db.url('flowgres_maintenance');
    await manageReadings(db);
    await db.admin.query(`set role flowgres_owner; alter table readings add raw json; select partitions.maintain('readings');
      insert into readings (ts, raw) values ('2026-05-05', '{"a":  1, "a": 2}'); reset role`);
    await freezeClock(db, '2026-11-21');
    await db.admin.query(`select partitions.maintain('readings')`);
    const options = { table: 'readings', period: '2026-05-01', to: await temporaryFolder(), report: quiet };
    await expect(archive(maintenance, { ...options, format: 'ndjson' })).rejects.toMatchObject({ code: 'ARCHIVE_FORMAT' });
    expect(await archive(maintenance, { ...options, format: 'csv' })).toEqual([]);
    await restore(maintenance, { folder: join(options.to, 'readings_y2026m05'), report: quiet });
    expect(await lines(db, 'select raw::text from readings')).toEqual(['{"a":  1, "a": 2}']);
  });

  test('a second archiver, an unmanaged table, a role without rights', async () => {
    const db = await monthsOfRuns();
    const first = await connect(db.adminUrl);
    await first.query(`select pg_advisory_lock(hashtextextended('flowgres archive', 0))`);
    await expect(archiveMonth(db)).rejects.toMatchObject({ code: 'ARCHIVE_BUSY' });
    await first.end();
    await expect(archiveMonth(db, { table: 'pg_class' })).rejects.toMatchObject({ code: 'TABLE_NOT_MANAGED' });
    await expect(archive(db.url('flowgres_worker'), { period: PERIOD, report: quiet })).rejects.toMatchObject({ code: '42501' });
    await expect(restore(db.url('flowgres_maintenance'), { report: quiet })).rejects.toMatchObject({ code: 'PERIOD_MISSING' });
  }, 30_000);
});

async function edit(folder: string, change: (text: string) => string): Promise<void> {
  const path = join(folder, 'manifest.json');
  await writeFile(path, change(await readFile(path, 'utf8')));
}
