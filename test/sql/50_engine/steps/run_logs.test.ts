/** How much the log of a run keeps of what its nodes write. */
import { afterEach, beforeAll, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { Driver } from '../../../helpers/driver.ts';
import { type TestOrganization, chain, createOrganization, publishWorkflow } from '../../../helpers/factory.ts';

const DEFAULTS = { max_log_lines: 10_000, max_log_bytes: 4 * 1024 * 1024, max_log_context_bytes: 65_536 };
let db: TestDatabase;
let acme: TestOrganization;
let engine: Driver;
let workflow: { id: string };
beforeAll(async () => {
  db = await createTestDatabase();
  acme = await createOrganization(db);
  engine = new Driver(db);
  workflow = await publishWorkflow(acme, chain({ id: 'start', type: 'apiTrigger' }, { id: 'end', type: 'noOp' }));
});

async function limit(name: keyof typeof DEFAULTS, value: number) {
  const type = name === 'max_log_bytes' ? 'bigint' : 'int';
  await db.admin.query(`create or replace function engine.${name}() returns ${type} language sql immutable parallel safe
    as $$ select ${value}::${type} $$`);
}
afterEach(async () => {
  for (const [name, value] of Object.entries(DEFAULTS)) await limit(name as keyof typeof DEFAULTS, value);
});

const startRun = async () => (await engine.start(acme, workflow)).run_id!;
const line = (runId: string, message: string, context: unknown = { n: 1 }) => ({
  organizationId: acme.id,
  runId,
  node: 'tell',
  level: 'info',
  message,
  context,
});
async function append(...lines: unknown[]): Promise<number> {
  const { rows } = await db
    .pool('flowgres_worker')
    .query<{ written: number }>('select engine.append_logs($1) as written', [JSON.stringify(lines)]);
  return rows[0]!.written;
}
const logOf = async (runId: string) =>
  (await db.admin.query('select node, level, message, context from workflow_run_logs where run_id = $1 order by id', [runId])).rows;
const messagesOf = async (runId: string) => (await logOf(runId)).map(({ message }) => message);
const truncated = 'Further lines of this run are not kept.';

test('the limits are those of docs/reference/security.md', async () => {
  const { rows } = await db.admin.query(`select engine.max_log_lines() as max_log_lines,
    engine.max_log_bytes()::int as max_log_bytes, engine.max_log_context_bytes() as max_log_context_bytes`);
  expect(rows).toEqual([DEFAULTS]);
});

test('more lines than a run keeps become one that says so, in one batch and over several', async () => {
  await limit('max_log_lines', 3);
  const [together, apart] = [await startRun(), await startRun()];
  expect(await append(...['a', 'b', 'c', 'd', 'e'].map((message) => line(together, message)))).toBe(4);
  for (const message of ['a', 'b', 'c', 'd', 'e']) await append(line(apart, message));
  for (const runId of [together, apart]) {
    expect(await append(line(runId, 'later'))).toBe(0);
    expect(await messagesOf(runId)).toEqual(['a', 'b', 'c', truncated]);
    expect((await logOf(runId)).at(-1)).toEqual({
      node: null,
      level: 'warning',
      message: truncated,
      context: { code: 'LOG_TRUNCATED', maxLines: 3, maxBytes: DEFAULTS.max_log_bytes },
    });
  }
});

test('texts and facts of more bytes than a run keeps end its log; a short line after them is not kept either', async () => {
  await limit('max_log_bytes', 1_000);
  const [text, facts] = [await startRun(), await startRun()];
  await append(line(text, 'ä'.repeat(400)), line(text, 'ä'.repeat(400)), line(text, 'short'));
  await append(line(text, 'later'));
  expect(await messagesOf(text)).toEqual(['ä'.repeat(400), truncated]);
  await append(line(facts, 'a', { x: 'x'.repeat(800) }));
  await append(line(facts, 'b', { x: 'x'.repeat(1_100) }));
  expect(await messagesOf(facts)).toEqual(['a', truncated]);
});

test('runs of one batch do not count for each other', async () => {
  await limit('max_log_lines', 2);
  const [first, second] = [await startRun(), await startRun()];
  await append(line(first, '1'), line(second, '1'), line(first, '2'), line(first, '3'), line(second, '2'));
  expect(await messagesOf(first)).toEqual(['1', '2', truncated]);
  expect(await messagesOf(second)).toEqual(['1', '2']);
});

test('facts that are too large are replaced by their size, and the line stays', async () => {
  const runId = await startRun();
  await append(line(runId, 'large', { x: 'x'.repeat(70_000) }), line(runId, 'next'));
  expect(await logOf(runId)).toMatchObject([
    { message: 'large', level: 'info', context: { code: 'LOG_TRUNCATED', bytes: expect.any(Number), maxBytes: 65_536 } },
    { message: 'next', context: { n: 1 } },
  ]);
});

test('what looks like the line that says so, written by a node, ends no log', async () => {
  const runId = await startRun();
  await append(line(runId, 'mine', { code: 'LOG_TRUNCATED' }));
  await append(line(runId, 'next'));
  expect(await messagesOf(runId)).toEqual(['mine', 'next']);
});
