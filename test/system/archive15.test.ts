import { join } from 'node:path';
import { expect, test } from 'vitest';
import { archive } from '../../src/archive/archive.ts';
import { restore } from '../../src/archive/restore.ts';
import { contentOf, fillMonths } from '../helpers/archive.ts';
import { buildDatabase } from '../../tools/build-database.ts';
import { temporaryFolder } from '../helpers/cli.ts';
import { openDatabase } from '../helpers/database.ts';
import { lines } from '../helpers/partitions.ts';
import { startPostgres15, suite } from './packages.ts';

suite('PostgreSQL 15', ['postgresql-15'], () => {
  test('a month leaves for tables and for files, and comes back as it was, twice', async () => {
    const server = await startPostgres15();
    await buildDatabase(`${server}/postgres`, 'archive');
    const db = openDatabase(`${server}/postgres`, 'archive', false);
    await fillMonths(db);
    const before = await contentOf(db);
    const maintenance = db.url('flowgres_maintenance');
    const report = { step: () => () => undefined, done: () => undefined };
    for (const format of ['csv', 'ndjson'] as const) {
      await lines(db, `select * from partitions.archive('workflow_runs', '2025-01-01')`);
      await lines(db, `select * from partitions.restore('workflow_runs', '2025-01-01')`);
      expect(await contentOf(db)).toEqual(before);
      const to = await temporaryFolder();
      expect(await archive(maintenance, { period: '2025-01-01', to, format, report })).toEqual([]);
      await restore(maintenance, { folder: join(to, 'workflow_runs_y2025m01'), report });
      expect(await contentOf(db)).toEqual(before);
    }
    expect(await lines(db, `select "check", detail from partitions.doctor() where severity <> 'info' and "check" <> 'hole'`)).toEqual([]);
    await db.drop();
  }, 120_000);
});
