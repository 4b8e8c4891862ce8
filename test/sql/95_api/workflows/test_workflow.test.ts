/** test_workflow(): the events of a run that is not stored, its pins and its limits. */
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { type Definition, type TestOrganization, chain, createOrganization } from '../../../helpers/factory.ts';

let db: TestDatabase;
let acme: TestOrganization;
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
});

interface TestEvent extends Record<string, unknown> {
  seq: number;
  type: string;
  payload: Record<string, unknown>;
}
const tryOut = async (definition: Definition, input: unknown = {}, trigger: string | null = null): Promise<TestEvent[]> =>
  (
    await acme.user.query<TestEvent>('select * from test_workflow($1, $2, $3)', [
      JSON.stringify(definition),
      JSON.stringify(input),
      trigger,
    ])
  ).rows;

const shape = (template: unknown) => ({ id: 'shape', type: 'transform', properties: { template } });

describe('test_workflow', () => {
  test('gives the events of a run and stores none of them', async () => {
    await acme.user.query(`select set_variable('rate', '2')`);
    const events = await tryOut(chain({ id: 'start', type: 'apiTrigger' }, shape({ n: '{{ $.prev.n }}', rate: '{{ $.vars.rate }}' })), {
      n: 7,
    });
    expect(events.map(({ seq, type }) => [seq, type])).toEqual([
      [1, 'run.created'],
      [2, 'step.succeeded'],
      [3, 'step.succeeded'],
      [4, 'run.succeeded'],
    ]);
    expect(events[0]!.payload).toMatchObject({ mode: 'manual', input: { n: 7 } });
    expect(events.at(-1)!.payload).toEqual({ output: { n: 7, rate: 2 } });
    const { rows } = await db.admin.query(
      'select (select count(*)::int from workflow_runs) as runs, (select count(*)::int from workflow_events) as events',
    );
    expect(rows).toEqual([{ runs: 0, events: 0 }]);
  });

  test('takes pinned outputs for what it cannot do, and stops where nothing is pinned', async () => {
    const call = (more: object) => ({ id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' }, ...more });
    const pinned = await tryOut(chain({ id: 'start', type: 'apiTrigger' }, call({ pin: { status: 200 } }), shape('{{ $.prev.status }}')));
    expect(pinned.at(-1)).toMatchObject({ type: 'run.succeeded', payload: { output: 200 } });
    const stopped = await tryOut(chain({ id: 'start', type: 'apiTrigger' }, call({}), shape(1)));
    expect(stopped.map(({ type }) => type)).toEqual(['run.created', 'step.succeeded']);
  });

  test('goes past effects, waits and other runs with outputs that the call pins, and leaves the definition as it is', async () => {
    const definition = chain(
      { id: 'start', type: 'apiTrigger' },
      { id: 'call', type: 'httpRequest', properties: { url: 'https://example.com' }, pin: { status: 500 } },
      { id: 'paid', type: 'wait', properties: { signal: 'paid' } },
      shape('{{ $.nodes.call.status }} {{ $.prev.amount }}'),
    );
    const pinned = async (pins: unknown) =>
      (await acme.user.query<TestEvent>('select * from test_workflow($1, pins => $2)', [JSON.stringify(definition), JSON.stringify(pins)]))
        .rows;
    expect((await pinned({ call: { status: 200 }, paid: { amount: 5 } })).at(-1)).toMatchObject({
      type: 'run.succeeded',
      payload: { output: '200 5' },
    });
    expect((await pinned({ call: { status: 200 } })).at(-1)!.type).not.toBe('run.succeeded');
    await expect(pinned({ cal: 1 })).rejects.toMatchObject({ code: 'WF009', message: expect.stringContaining("'cal'") });
    await expect(pinned([])).rejects.toMatchObject({ code: 'WF009' });
    await expect(pinned({ call: 'x'.repeat(1_100_000) })).rejects.toMatchObject({ code: 'WF010' });
  });

  test('goes to the end where a run would go on in a later transaction', async () => {
    const nodes = Array.from({ length: 210 }, (_, place) => ({ id: `n${place}`, type: 'noOp' }));
    const events = await tryOut(chain({ id: 'start', type: 'apiTrigger' }, ...nodes), { n: 1 });
    expect(events).toHaveLength(213);
    expect(events.at(-1)).toMatchObject({ type: 'run.succeeded', payload: { output: { n: 1 } } });
  });

  test('starts at the trigger that is named', async () => {
    const two: Definition = {
      nodes: [{ id: 'a', type: 'apiTrigger' }, { id: 'b', type: 'manualTrigger' }, shape(1)],
      connections: [
        { source: 'a', target: 'shape' },
        { source: 'b', target: 'shape' },
      ],
    };
    expect((await tryOut(two))[0]!.payload['trigger']).toBe('b');
    expect((await tryOut(two, {}, 'a'))[0]!.payload['trigger']).toBe('a');
    await expect(tryOut(two, {}, 'shape')).rejects.toMatchObject({ code: 'WF002' });
  });

  test('refuses a definition that could not be published, and too much input', async () => {
    await expect(tryOut({ nodes: [{ id: 'a', type: 'nonsense' }], connections: [] })).rejects.toMatchObject({
      code: 'WF001',
      detail: expect.stringContaining('problems'),
    });
    await expect(
      tryOut(
        chain({ id: 'start', type: 'apiTrigger' }),
        Array.from({ length: 300_000 }, () => Math.random()),
      ),
    ).rejects.toMatchObject({ code: 'WF010' });
  });
});

describe('an organization tests two workflows at a time', () => {
  test('a third one is refused until one has ended, and others are not affected', async () => {
    const definition = chain({ id: 'start', type: 'apiTrigger' }, shape('{{ $.prev.**.n }}'));
    const holders = [await db.admin.connect(), await db.admin.connect()];
    try {
      for (const holder of holders) {
        await holder.query('begin');
        await holder.query('select engine.acquire_test_slot($1)', [acme.id]);
      }
      await expect(tryOut(definition, { n: 1 })).rejects.toMatchObject({ code: 'WF013' });
      const other = await createOrganization(db);
      const { rows } = await other.user.query('select * from test_workflow($1)', [JSON.stringify(definition)]);
      expect(rows.length).toBeGreaterThan(0);
    } finally {
      for (const holder of holders) {
        await holder.query('rollback');
        holder.release();
      }
    }
    // What is a local step in a run is evaluated here like everything else.
    expect((await tryOut(definition, { n: 1 })).at(-1)).toMatchObject({ type: 'run.succeeded', payload: { output: [1] } });
  });
});
