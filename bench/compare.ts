/**
 * `npm run bench -- compare <revision>`: the engine of this checkout beside that of another revision, in one run.
 *
 * Both databases are on one server, and their slices alternate. The processor time of the backend (Linux:
 * /proc/<pid>/schedstat) and its WAL (pg_stat_get_backend_wal) are counted per run: unlike rates, both hardly
 * depend on what else the machine does. `--cases pure` measures those with that word; `--profile` also prints the time that each function took itself.
 */
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { BUILD_FOLDER, type Sources, readSources } from '../src/database/sources.ts';
import { PURE_NODES, pureRequest } from './pure.ts';
import type { BenchDatabase, BenchServer } from './server.ts';
import { WEBHOOK_NODES } from './webhooks.ts';

/** Runs of one batch, as many as the coalescer of a process sends. */
const BATCH = 100;

/** What one backend has used: nanoseconds of a processor, and bytes of WAL. */
interface Usage {
  cpu: number;
  wal: number;
}

interface Case {
  name: string;
  /** Events that a run writes in the measured part. */
  events: number;
  /** Does a slice; measures what `measure` encloses. Resolves to the number of runs. */
  slice(side: Side, measure: (work: () => Promise<unknown>) => Promise<void>): Promise<number>;
}

const CASES: Case[] = [
  { name: 'B: events inserted in bulk, each', events: 1, slice: insertEvents },
  { name: '5 effect steps, drained, batches of 100', events: 11, slice: (side, measure) => drain(side, 5, BATCH, measure) },
  { name: '1 effect step, drained, batches of 100', events: 3, slice: (side, measure) => drain(side, 1, BATCH, measure) },
  { name: '5 effect steps, begun and completed one a call', events: 11, slice: (side, measure) => drain(side, 5, 1, measure) },
  {
    name: 'start of a run with effect steps, batches of 100',
    events: 2,
    slice: (side, measure) => start(side, 'effect5', BATCH, 3, measure),
  },
  { name: '5 pure nodes, batches of 100', events: 8, slice: (side, measure) => start(side, 'pure', BATCH, 4, measure) },
  { name: '5 pure nodes, one a call', events: 8, slice: (side, measure) => start(side, 'pure', 1, 100, measure) },
  { name: 'webhook, set, if, set, batches of 10', events: 6, slice: (side, measure) => start(side, 'webhook', 10, 20, measure) },
];

/** A definer function, so that the measured backend inserts: no role but the owner may. */
const BULK = `
  create schema bench;
  grant usage on schema bench to flowgres_worker;
  create function bench.insert_events(p_organization_id uuid, p_run_id uuid) returns void
  language sql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
    insert into public.workflow_events (organization_id, run_id, seq, ts, type, payload)
    select p_organization_id, p_run_id, seq, clock_timestamp(), 'step.succeeded',
      '{"node": "a", "attempt": 1, "port": "main", "output": {"total": 120}, "ms": 0}'
    from generate_series(1, 10000) as seq
  $$;
  grant execute on function bench.insert_events(uuid, uuid) to flowgres_worker`;

/** One of the two databases. */
class Side {
  readonly client: pg.Client;
  readonly admin: pg.Client;
  readonly #database: BenchDatabase;
  readonly #workflows = new Map<string, string>();
  readonly workerId = randomUUID();
  #pid = 0;

  constructor(database: BenchDatabase) {
    this.#database = database;
    this.client = new pg.Client({ connectionString: database.url('flowgres_worker') });
    this.admin = new pg.Client({ connectionString: database.adminUrl });
  }

  async open(isProfiled: boolean): Promise<void> {
    await this.admin.connect();
    const name = new URL(this.#database.adminUrl).pathname.slice(1);
    if (isProfiled) await this.admin.query(`alter database ${name} set track_functions = 'all'`);
    await this.client.connect();
    const { rows } = await this.client.query<{ pid: number }>('select pg_backend_pid() as pid');
    this.#pid = rows[0]!.pid;
    const trigger = { id: 'start', type: 'apiTrigger' };
    const effects = (steps: number) => Array.from({ length: steps }, (_, place) => ({ id: `step${place + 1}`, type: 'benchStep' }));
    const workflows = { effect1: [trigger, ...effects(1)], effect5: [trigger, ...effects(5)], pure: PURE_NODES, webhook: WEBHOOK_NODES };
    for (const [name, nodes] of Object.entries(workflows)) this.#workflows.set(name, await this.#database.publish(name, nodes));
    await this.admin.query(BULK);
    await this.client.query(`select from engine.heartbeat($1, '[]', null, 1000, 1000)`, [this.workerId]);
    if (isProfiled) await this.admin.query('select pg_stat_reset()');
  }

  request(workflow: string): Record<string, unknown> {
    const key = { organizationId: this.#database.organizationId, workflowId: this.#workflows.get(workflow)! };
    if (workflow === 'pure') return pureRequest(key);
    return {
      ...key,
      mode: workflow === 'webhook' ? 'webhook' : 'api',
      input: workflow === 'webhook' ? { body: { total: 120 }, headers: {} } : {},
    };
  }

  get organizationId(): string {
    return this.#database.organizationId;
  }

  async usage(): Promise<Usage> {
    await this.client.query('select pg_stat_force_next_flush()');
    const { rows } = await this.admin.query<{ wal: number }>('select wal_bytes::float8 as wal from pg_stat_get_backend_wal($1)', [
      this.#pid,
    ]);
    return { cpu: Number(readFileSync(`/proc/${this.#pid}/schedstat`, 'utf8').split(' ')[0]), wal: rows[0]!.wal };
  }

  async close(): Promise<void> {
    await Promise.all([this.client.end(), this.admin.end()]);
    await this.#database.close();
  }
}

/** Measures both revisions and prints the table. */
export async function compare(
  server: BenchServer,
  revision: string,
  options: { rounds: number; profile: boolean; cases: string },
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'flowgres-before-'));
  try {
    const before = new Side(await server.build('before', sourcesOf(revision, folder)));
    const after = new Side(await server.build('after', readSources()));
    for (const side of [before, after]) await side.open(options.profile);
    const cases = CASES.filter(({ name }, place) => place === 0 || name.includes(options.cases));
    const samples = await sample([before, after], cases, options.rounds);
    print(samples);
    if (options.profile) for (const [name, side] of Object.entries({ before, after })) await printProfile(name, side);
    await Promise.all([before.close(), after.close()]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The sources of a revision, in `folder`. */
function sourcesOf(revision: string, folder: string): Sources {
  const archive = execFileSync('git', ['-C', BUILD_FOLDER, 'archive', revision, 'sql', 'migrations', 'package.json'], {
    maxBuffer: 2 ** 28,
  });
  execFileSync('tar', ['-x', '-C', folder], { input: archive });
  return readSources(folder);
}

type Samples = Map<Case, [Usage[], Usage[]]>;

/** Alternates the two sides, and which one comes first. The first round warms up. */
async function sample(sides: [Side, Side], cases: Case[], rounds: number): Promise<Samples> {
  const samples: Samples = new Map(cases.map((each) => [each, [[], []]]));
  for (let round = 0; round <= rounds; round += 1) {
    for (const each of cases) {
      for (const place of round % 2 ? ([0, 1] as const) : ([1, 0] as const)) {
        const side = sides[place];
        const used: Usage = { cpu: 0, wal: 0 };
        const runs = await each.slice(side, async (work) => {
          const started = await side.usage();
          await work();
          const ended = await side.usage();
          used.cpu += ended.cpu - started.cpu;
          used.wal += ended.wal - started.wal;
        });
        if (round > 0) samples.get(each)![place].push({ cpu: used.cpu / runs, wal: used.wal / runs });
      }
    }
  }
  return samples;
}

function print(samples: Samples): void {
  console.log('| case | µs of the backend | | | WAL bytes | | | events / B | |\n|---|---|---|---|---|---|---|---|---|');
  console.log('| | before | after | ratio | before | after | ratio | before | after |');
  const bulk = samples.get(CASES[0]!)!.map((usages) => typical(usages.map(({ cpu }) => cpu)));
  for (const [each, [before, after]] of samples) {
    const cpu = [before, after].map((usages) => typical(usages.map((usage) => usage.cpu))) as [number, number];
    const wal = [before, after].map((usages) => median(usages.map((usage) => usage.wal))) as [number, number];
    const ratio = cpu[1] / cpu[0];
    const share = cpu.map((time) => ((each.events * (bulk[0]! + bulk[1]!)) / 2 / time).toFixed(2));
    const cells = [
      ...cpu.map((time) => (time / 1000).toFixed(1)),
      ratio.toFixed(3),
      ...wal.map((bytes) => bytes.toFixed(0)),
      (wal[1] / wal[0]).toFixed(3),
      ...share,
    ];
    console.log(`| ${each.name} | ${cells.join(' | ')} |`);
  }
}

async function printProfile(name: string, side: Side): Promise<void> {
  const { rows } = await side.admin.query<{ name: string; language: string; calls: number; self: number; each: number }>(
    `select f.schemaname || '.' || f.funcname as name, l.lanname as language, f.calls, f.self_time as self, f.self_time * 1000 / f.calls as each
     from pg_stat_user_functions as f
     join pg_proc as p on p.oid = f.funcid
     join pg_language as l on l.oid = p.prolang
     where f.calls > 0
     order by f.self_time desc
     limit 60`,
  );
  console.log(`\n${name}: function, language, calls, ms in all, µs a call (functions that the planner inlines are not listed)`);
  for (const { name: of, language, calls, self, each } of rows)
    console.log(
      `${of.padEnd(40)} ${language.padEnd(8)} ${String(calls).padStart(9)} ${self.toFixed(1).padStart(10)} ${each.toFixed(2).padStart(9)}`,
    );
}

async function insertEvents(side: Side, measure: (work: () => Promise<unknown>) => Promise<void>): Promise<number> {
  const { rows } = await side.client.query('select run_id from engine.start_runs($1)', [JSON.stringify([side.request('pure')])]);
  const values = [side.organizationId, rows[0]!['run_id']];
  await measure(() => side.client.query('select bench.insert_events($1, $2)', values));
  return 10_000;
}

async function start(
  side: Side,
  workflow: string,
  batch: number,
  calls: number,
  measure: (work: () => Promise<unknown>) => Promise<void>,
): Promise<number> {
  const requests = JSON.stringify(Array.from({ length: batch }, () => side.request(workflow)));
  await measure(async () => {
    for (let call = 0; call < calls; call += 1)
      await side.client.query({
        name: 'start',
        text: 'select index, run_id, status, output from engine.start_runs($1::jsonb)',
        values: [requests],
      });
  });
  if (workflow.startsWith('effect')) await cancelAll(side);
  return batch * calls;
}

/** Starts runs, then begins and completes their steps, in batches. */
async function drain(side: Side, steps: number, batch: number, measure: (work: () => Promise<unknown>) => Promise<void>): Promise<number> {
  const runs = batch === 1 ? 20 : 2 * BATCH;
  const requests = JSON.stringify(Array.from({ length: runs }, () => side.request(`effect${steps}`)));
  const { rows } = await side.client.query<{ run_id: string }>('select run_id from engine.start_runs($1)', [requests]);
  const ids = rows.map(({ run_id }) => run_id);
  await measure(async () => {
    for (let first = 0; first < runs; first += batch) {
      const part = ids.slice(first, first + batch);
      await side.client.query({
        name: 'begin',
        text: 'select index, outcome, run_id, task from engine.begin_steps($1::jsonb, $2::uuid)',
        values: [JSON.stringify(part.map((runId) => ({ runId, node: 'step1' }))), side.workerId],
      });
      for (let step = 1; step <= steps; step += 1)
        await side.client.query({
          name: 'complete',
          text: 'select index, outcome, run_id, status, next from engine.complete_steps($1::jsonb, $2::uuid)',
          values: [
            JSON.stringify(part.map((runId) => ({ runId, node: `step${step}`, attempt: 1, ok: true, output: { done: true }, ms: 0 }))),
            side.workerId,
          ],
        });
    }
  });
  const { rows: left } = await side.admin.query(`select from public.workflow_runs where id = any ($1) and status <> 'success'`, [ids]);
  if (left.length) throw new Error(`${left.length} runs have not ended`);
  await side.admin.query('delete from graphile_worker._private_jobs');
  return runs;
}

async function cancelAll(side: Side): Promise<void> {
  await side.admin.query('delete from engine.open_steps');
  await side.admin.query('delete from graphile_worker._private_jobs');
}

/** The lower quartile: what else the machine does only ever adds time. */
function typical(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 4)] ?? Number.NaN;
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
