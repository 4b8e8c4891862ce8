/** `sql/` is what people read, the migrations are what databases get: both must give the same database. */
import { readFile, readdir } from 'node:fs/promises';
import { compile } from 'graphile-migrate';
import { describe, expect, test } from 'vitest';
import { scheduleMaintenance } from '../../src/ops/maintenance.ts';
import { compileSources, migrate, migrationSettings } from '../../src/migrate.ts';
import { TEST_SECRET } from '../helpers/build.ts';
import { createTestDatabase } from '../helpers/database.ts';
import { fingerprint } from './fingerprint.ts';

const CRON = new URL('../../sql/70_cron/index.sql', import.meta.url);
const MIGRATIONS = new URL('../../migrations/', import.meta.url);
const committed = (await readdir(new URL('committed/', MIGRATIONS)).catch(() => [])).filter((file) => file.endsWith('.sql')).sort();

test('the migrations give the same database as the sources', async () => {
  const [sources, migrated] = await Promise.all([createTestDatabase(), createTestDatabase({ empty: true })]);
  await migrate(migrated.adminUrl, TEST_SECRET);
  const current = await compile(migrationSettings(migrated.adminUrl), await readFile(new URL('current.sql', MIGRATIONS), 'utf8'));
  await migrated.admin.query(`begin; ${current}; commit`);
  for (const { adminUrl } of [sources, migrated]) await scheduleMaintenance(adminUrl, TEST_SECRET);

  const [wanted, got] = await Promise.all([fingerprint(sources.admin), fingerprint(migrated.admin)]);
  expect(wanted.length).toBeGreaterThan(100);
  expect({ missing: wanted.filter((line) => !got.includes(line)), extra: got.filter((line) => !wanted.includes(line)) }).toEqual({
    missing: [],
    extra: [],
  });
});

test('migrating again changes nothing', async () => {
  const db = await createTestDatabase({ empty: true });
  await migrate(db.adminUrl, TEST_SECRET);
  const before = await fingerprint(db.admin);
  await Promise.all([migrate(db.adminUrl, TEST_SECRET), migrate(db.adminUrl, TEST_SECRET)]);
  expect(await fingerprint(db.admin)).toEqual(before);
});

test('code can be run again and changes nothing', async () => {
  const db = await createTestDatabase();
  const before = await fingerprint(db.admin);
  const sources = await compileSources(db.adminUrl, '--!include index.sql');
  const code = [...sources.matchAll(/^--! Included \S+\n(-- kind: code\n[\s\S]*?)^--! EndIncluded/gm)].map(([, file]) => file);
  expect(code.length).toBeGreaterThan(100);
  await db.admin.query(`begin; set local role flowgres_owner; ${code.join('\n')} commit`);
  expect(await fingerprint(db.admin)).toEqual(before);
});

describe.each(committed)('%s', (file) => {
  test('leaves schema cron alone where it is that of pg_cron', async () => {
    const sql = await readFile(new URL(`committed/${file}`, MIGRATIONS), 'utf8');
    const outside = sql.replaceAll(/^ *execute \$files\$\n[\s\S]*?^ *\$files\$;$/gm, '');
    const conditional = [...(await readFile(CRON, 'utf8')).matchAll(/^--!include (\S+)$/gm)].map(([, name]) => name!).slice(2);
    expect(conditional).toContain('70_cron/policies.sql');
    expect(conditional.filter((name) => outside.includes(`--! Included ${name}\n`))).toEqual([]);
  });

  test('has every include in place, acts as the owner and leaves roles alone', async () => {
    const sql = await readFile(new URL(`committed/${file}`, MIGRATIONS), 'utf8');
    expect(sql).not.toMatch(/^--! *include /m);
    expect(sql).not.toMatch(/^\s*(create|alter|drop) role/m);
    if (sql.includes('--! no-transaction')) return;
    expect(sql).toMatch(/^set local role flowgres_owner;$/m);
    // What graphile-migrate notes about the migration is written after it, in the same transaction.
    expect(sql.trimEnd()).toMatch(/^reset role;(\s*--! EndIncluded .*)*$/m);
  });
});
