/** The security lints that Supabase publishes (splinter), by a program that carries them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { connect } from '../../src/database/connections.ts';
import { buildDatabase } from '../../tools/build-database.ts';
import { LINTER } from '../helpers/daemons.ts';
import { startTemporary } from '../helpers/server.ts';
import { suite } from './packages.ts';

const report = z.object({ diagnostics: z.array(z.object({ severity: z.string(), message: z.string(), category: z.string() })) });

/**
 * Functions that need not fix their search_path, none of which runs with the rights of another than its caller: those of
 * the queue's library; those that only their owner may call, since whoever calls them for others has fixed it; procedures,
 * which could not commit with a setting of their own; and what PostgreSQL puts into the query that calls it, which a
 * setting prevents. All names in them are qualified.
 */
const EXCEPTED = `
  select format('%s.%s', n.nspname, p.proname) as name
  from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
  group by n.nspname, p.proname
  having bool_and(not p.prosecdef and (
    n.nspname = 'graphile_worker'
    or p.prokind = 'p'
    or format('%s.%s', n.nspname, p.proname) = any ('{
      engine.uuid_v7, engine.uuid_time, engine.uuid_floor, public.workflow_runs_duration_ms, public.workflow_runs_events,
      public.workflow_runs_latest_events, public.workflow_runs_logs, public.workflow_runs_steps, public.dead_letters,
      private.is_name, engine.run_matches, engine.run_duration_ms, engine.number_matches, engine.text_matches,
      engine.time_matches, engine.uuid_matches, engine.max_application_wait
    }'::text[]) and p.prolang = 14
    or not exists (
      select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as a where a.grantee <> p.proowner
    )
  ))`;

suite('Lints of Supabase', ['postgres-language-server'], () => {
  test('the published security lints find nothing', async () => {
    const server = await startTemporary();
    onTestFinished(server.stop);
    const url = await buildDatabase(server.url, 'lints');
    const { stdout } = await promisify(execFile)(
      LINTER,
      ['dblint', '--max-diagnostics=none', '--reporter=json', '--connection-string', url],
      {
        maxBuffer: 16 * 1024 ** 2,
      },
    );
    const { diagnostics } = report.parse(JSON.parse(stdout));
    expect(diagnostics.length).toBeGreaterThan(100);

    // Hints at level "info" are left out: a table with row-level security and no policy is closed on purpose, and the
    // partitions' foreign keys are indexed by prefix.
    const client = await connect(url);
    const { rows: excepted } = await client.query<{ name: string }>(EXCEPTED);
    await client.end();
    const names = new Set(excepted.map(({ name }) => name));
    const isExcepted = (message: string) => names.has(/^Function \\`(.*)\\` has a role mutable search_path$/.exec(message)?.[1] ?? '');
    expect(
      diagnostics
        .filter(({ severity, message }) => severity !== 'info' && !isExcepted(message))
        .map(({ category, message }) => `${category}: ${message}`),
    ).toEqual([]);
  });
});
