import { afterEach, expect, test } from 'vitest';
import { LiveRuns, type Changes } from '../../src/engine/live.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

const opened: LiveRuns[] = [];
afterEach(async () => {
  await Promise.all(opened.splice(0).map((live) => live.close()));
});

function listen(db: TestDatabase, role: 'flowgres_api' | 'flowgres_intake' = 'flowgres_api') {
  const live = new LiveRuns(db.url(role));
  opened.push(live);
  const news: Changes[] = [];
  const stop = live.subscribe((each) => news.push(each));
  return { live, news, stop };
}

const notify = (db: TestDatabase, payload: string) => db.admin.query(`select pg_notify('flowgres_runs', $1)`, [payload]);
const runs = (...ids: string[]) => JSON.stringify({ runs: ids, workflows: ['w'] });
const heartbeats = async (db: TestDatabase) => (await db.admin.query('select from engine.listeners')).rowCount;

test.each(['flowgres_api', 'flowgres_intake'] as const)('%s hears of runs, after one call to read everything', async (role) => {
  const db = await createTestDatabase();
  const { news } = listen(db, role);
  await expect.poll(() => news).toEqual(['many']);
  await notify(db, runs('a', 'b'));
  await notify(db, '"many"');
  await notify(db, 'nonsense');
  await expect.poll(() => news).toEqual(['many', ['a', 'b'], 'many', 'many']);
});

test('a listener is told nothing after it has stopped', async () => {
  const db = await createTestDatabase();
  const first = listen(db);
  await expect.poll(() => first.news).toEqual(['many']);
  const second: Changes[] = [];
  first.live.subscribe((each) => second.push(each));
  first.stop();
  await notify(db, runs('a'));
  await expect.poll(() => second).toEqual([['a']]);
  expect(first.news).toEqual(['many']);
});

test('the engine knows of listeners while there are any', async () => {
  const db = await createTestDatabase();
  const { live, news } = listen(db);
  await expect.poll(() => news).toHaveLength(1);
  expect(await heartbeats(db)).toBe(1);
  await live.close();
  expect(await heartbeats(db)).toBe(0);
});

test('a lost connection is replaced, and everybody is told to read again', async () => {
  const db = await createTestDatabase();
  const { news } = listen(db);
  await expect.poll(() => news).toEqual(['many']);
  await db.admin.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and usename = 'flowgres_api'`,
  );
  await expect.poll(() => news).toEqual(['many', 'many']);
  await notify(db, runs('a'));
  await expect.poll(() => news.at(-1)).toEqual(['a']);
});
