/** The security lints that Supabase publishes (splinter), by a program that carries them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { createTestDatabase } from '../helpers/database.ts';

const report = z.object({ diagnostics: z.array(z.object({ severity: z.string(), message: z.string(), category: z.string() })) });

test('the published security lints find nothing', async () => {
  const db = await createTestDatabase();
  const linter = new URL('../../node_modules/.bin/postgres-language-server', import.meta.url).pathname;
  const { stdout } = await promisify(execFile)(
    linter,
    ['dblint', '--max-diagnostics=none', '--reporter=json', '--connection-string', db.adminUrl],
    { maxBuffer: 16 * 1024 ** 2 },
  );
  const { diagnostics } = report.parse(JSON.parse(stdout));
  expect(diagnostics.length).toBeGreaterThan(100);

  // Hints at level "info" are left out: a table with row-level security and no policy is closed on purpose, and the
  // partitions' foreign keys are indexed by prefix. Nor need a function fix its search_path that only its owner may
  // call: whoever calls it for others has fixed it.
  const { rows: internal } = await db.admin.query<{ name: string }>(`
    select format('%s.%s', n.nspname, p.proname) as name
    from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
    group by 1
    having bool_and(not p.prosecdef and not exists (
      select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a where a.grantee <> p.proowner
    ))`);
  const ownersOnly = new Set(internal.map(({ name }) => name));
  const isInternal = (message: string) => ownersOnly.has(/^Function \\`(.*)\\` has a role mutable search_path$/.exec(message)?.[1] ?? '');
  expect(
    diagnostics
      .filter(({ severity, message }) => severity !== 'info' && !isInternal(message))
      .map(({ category, message }) => `${category}: ${message}`),
  ).toEqual([]);
});
