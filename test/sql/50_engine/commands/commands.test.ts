/** Each command on runs, against a run in every state: done or refused, and harmless when repeated. */
import { beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase, findBrokenInvariants } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, type TestWorkflow, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let workflows: Record<'calling' | 'signaled' | 'timed' | 'approved' | 'parent' | 'limited' | 'pure' | 'failing', TestWorkflow>;

const trigger = { id: 'start', type: 'apiTrigger' };
const call = (id: string) => ({ id, type: 'httpRequest', properties: { url: 'https://example.com' } });
const wait = (properties: Record<string, unknown>) => ({ id: 'a', type: 'wait', properties });

beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  await publishWorkflow(acme, chain({ id: 'called', type: 'subworkflowTrigger' }, call('a')), 'child');
  const approval = { source: 'a', target: 'b', sourceOutput: 'approved' };
  workflows = {
    calling: await publishWorkflow(acme, chain(trigger, call('a'), call('b'))),
    signaled: await publishWorkflow(acme, chain(trigger, wait({ signal: 'x' }), call('b'))),
    timed: await publishWorkflow(acme, chain(trigger, wait({ seconds: 1000 }), call('b'))),
    approved: await publishWorkflow(acme, {
      nodes: [trigger, wait({ approval: {} }), call('b')],
      connections: [{ source: 'start', target: 'a' }, approval],
    }),
    parent: await publishWorkflow(
      acme,
      chain(trigger, { id: 'a', type: 'forEach', properties: { workflow: 'child', items: [1, 2] } }, call('b')),
    ),
    limited: await publishWorkflow(acme, { ...chain(trigger, call('a')), settings: { concurrency: { limit: 1 } } }),
    pure: await publishWorkflow(acme, chain(trigger, { id: 'a', type: 'noOp' })),
    failing: await publishWorkflow(acme, chain(trigger, { id: 'a', type: 'stopAndError', properties: { message: 'no' } })),
  };
  await engine.start(acme, workflows.limited);
});

const start = async (name: keyof typeof workflows) => (await engine.start(acme, workflows[name])).run_id!;
const after = async (runId: string, command: string) => {
  await acme.user.query(`select ${command}($1)`, [runId]);
  return runId;
};
const begun = async (runId: string) => {
  await engine.begin(runId, 'a');
  return runId;
};
const childOf = async (runId: string) =>
  (await db.admin.query<{ id: string }>('select id from workflow_runs where parent_run_id = $1 limit 1', [runId])).rows[0]!.id;

/** A new run in each state that one can get into. */
const STATES: Record<string, () => Promise<string>> = {
  queued: () => start('calling'),
  running: async () => begun(await start('calling')),
  'waiting for a signal': () => start('signaled'),
  'waiting for a time': () => start('timed'),
  'waiting for an approval': () => start('approved'),
  'waiting for children': async () => begun(await start('parent')),
  held: () => start('limited'),
  paused: async () => after(await start('calling'), 'pause_run'),
  'paused while it ran': async () => after(await begun(await start('calling')), 'pause_run'),
  'paused while it was held': async () => after(await start('limited'), 'pause_run'),
  successful: () => start('pure'),
  failed: () => start('failing'),
  canceled: async () => after(await begun(await start('calling')), 'cancel_run'),
  'canceled while it was held': async () => after(await start('limited'), 'cancel_run'),
  'a child': async () => childOf(await begun(await start('parent'))),
};

/** Every command, as users give it; the first argument is the run. */
const COMMANDS: Record<string, unknown[]> = {
  'cancel_run($1, $2)': [`\u{1F4A9}\u202E ${'r'.repeat(5_000)}`],
  'pause_run($1, $2)': [null],
  'resume_run($1)': [],
  'retry_run($1)': [],
  'retry_run($1, $2)': ['a'],
  'fork_run($1)': [],
  'fork_run($1, $2, $3)': ['a', 'null'],
  'fork_run($1, null, null, $2)': [99],
  'signal_run($1, $2, $3)': ['x', '{"n": 1e308, "": "\\ud83d\\ude00"}'],
  'approve_step($1, $2, $3)': ['a', null],
  'verify_run($1)': [],
};

test.each(Object.keys(STATES))('each command is done or refused of a run that is %s, and repeated does no harm', async (state) => {
  for (const [command, values] of Object.entries(COMMANDS)) {
    const runId = await STATES[state]!();
    for (const time of ['once', 'twice']) {
      const answer = await acme.user.query(`select * from ${command}`, [runId, ...values]).then(
        () => 'done',
        (error: { code: string }) => error.code,
      );
      expect(answer, `${command} ${time}`).toMatch(/^(done|WF\d{3})$/);
    }
  }
  // What it was left in breaks no rule and replays; the end of this file looks at all of it once more.
  expect(await findBrokenInvariants(db.admin)).toEqual([]);
});
