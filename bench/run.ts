/**
 * `npm run bench`: measures Flowgres on this machine, and PostgreSQL itself in the same run as reference.
 *
 * Everything that a production server has is on: fsync, synchronous_commit, foreign keys, row-level security,
 * partitions. Absolute figures of a shared machine mean little; compare ratios. `npm run bench -- pure
 * webhooks` runs some cases; `npm run bench -- hostile` and `npm run bench -- compare <revision>` run alone and
 * print tables of their own.
 */
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { compare } from './compare.ts';
import { LIMITS, type Limits, measureLimits } from './limits.ts';
import { type Outcome, TABLE_HEAD, tableRow } from './measure.ts';
import { measureCells } from './cells.ts';
import { measureEffects } from './effects.ts';
import { measureGraphql } from './graphql.ts';
import { measureGrowth } from './growth.ts';
import { measureHostile } from './hostile.ts';
import { measureIdle } from './idle.ts';
import { measurePartitions } from './partitions/measure.ts';
import { measureTimeRange } from './partitions/time_range.ts';
import { measurePure } from './pure.ts';
import { measureRecovery } from './recovery.ts';
import { type BenchServer, SETTINGS, startBench } from './server.ts';
import { measureSignedWebhooks } from './signed_webhooks.ts';
import { measureVault } from './vault.ts';
import { measureWebhooks } from './webhooks.ts';

const CASES: Record<string, (server: BenchServer) => Promise<Outcome[]> | AsyncIterable<Outcome>> = {
  pure: measurePure,
  effects: measureEffects,
  webhooks: measureWebhooks,
  signed: measureSignedWebhooks,
  vault: measureVault,
  graphql: measureGraphql,
  partitions: measurePartitions,
  ranges: measureTimeRange,
  idle: measureIdle,
  recovery: measureRecovery,
  cells: measureCells,
  growth: measureGrowth,
};

/** Cases that take minutes: they are run when they are named. */
const NAMED_ONLY = new Set(['idle', 'recovery', 'cells', 'growth']);
const HOSTILE = 'hostile';
const COMPARE = 'compare';
const { values: options, positionals: wanted } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '12' },
    attacks: { type: 'string', default: '' },
    rounds: { type: 'string', default: '15' },
    profile: { type: 'boolean', default: false },
    cases: { type: 'string', default: '' },
  },
});
const revision = wanted[0] === COMPARE ? (wanted.splice(0, 2)[1] ?? 'main') : undefined;
const unknown = wanted.filter((name) => name !== HOSTILE && !(name in CASES));
if (unknown.length) throw new Error(`no such case: ${unknown.join(', ')}; there are ${Object.keys(CASES).join(', ')}, ${HOSTILE}`);
if (wanted.includes(HOSTILE) && wanted.length > 1) throw new Error(`${HOSTILE} wants the machine for itself`);

const server = await startBench();
try {
  await describeMachine();
  if (revision !== undefined) {
    await compare(server, revision, { rounds: Number(options.rounds), profile: options.profile, cases: options.cases });
  } else if (wanted[0] === HOSTILE) {
    const attacks = options.attacks.split(',').filter(Boolean);
    if (!(await measureHostile(server, { seconds: Number(options.seconds), attacks }))) process.exitCode = 1;
  } else {
    await measureCases();
  }
} finally {
  await server.stop();
}
process.exit();

async function describeMachine(): Promise<void> {
  const client = new pg.Client({ connectionString: server.adminUrl });
  await client.connect();
  const { rows } = await client.query<{ version: string }>(`select current_setting('server_version') as version`);
  await client.end();
  console.log(`PostgreSQL ${rows[0]!.version}, Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model ?? 'CPU'}`);
  const settings = Object.entries(SETTINGS).map(([name, value]) => `${name}=${value}`);
  console.log(`${settings.join(' ')}\n`);
}

async function measureCases(): Promise<void> {
  console.log(TABLE_HEAD);
  const before: Limits = await measureLimits(server);
  for (const [name, label] of Object.entries(LIMITS))
    console.log(tableRow({ name: label, ...before[name as keyof Limits] }, before.P.rate));
  const sentences: string[] = [];
  for (const [name, measure] of Object.entries(CASES)) {
    if (wanted.length ? !wanted.includes(name) : NAMED_ONLY.has(name)) continue;
    for await (const outcome of await measure(server)) {
      if (typeof outcome === 'string') sentences.push(outcome);
      else console.log(tableRow(outcome, before.P.rate));
    }
  }
  const after = await measureLimits(server);
  console.log(tableRow({ name: `${LIMITS.P}, measured again at the end`, ...after.P }, before.P.rate));
  if (sentences.length) console.log(`\n${sentences.join('\n')}`);
}
