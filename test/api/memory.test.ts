/** Documents that are all different: what a process keeps of them levels off. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { createOrganization } from '../helpers/factory.ts';
import { rounds } from '../helpers/rounds.ts';

interface Memory {
  rss: number;
  heap: number;
  kept: { documents: number; plans: number };
}

const MB = 1_000_000;
/** Node takes what it is given before it collects garbage: a process that keeps too much ends, one that does not stays below. */
const HEAP_MB = 320;
const field = (name: string) =>
  `${name}: workflows(first: 1, filter: {name: {equalTo: "${name}"}}) { nodes { id name versions(first: 1) { nodes { version publishedAt } } createdBy { id name } } }`;
/** Valid, of about 45 tokens for each part. */
const document = (seed: number, parts: number) => `{ ${Array.from({ length: parts }, (_, part) => field(`a${seed}_${part}`)).join(' ')} }`;

async function start(connectionString: string) {
  const child = fork(new URL('graphql_process.ts', import.meta.url), [connectionString], {
    execArgv: ['--expose-gc', `--max-old-space-size=${HEAP_MB}`],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const { url } = (await message(child)) as { url: string };
  return { child, url };
}

async function message(child: ChildProcess): Promise<unknown> {
  const [answer] = await once(child, 'message');
  return answer;
}

test('any number of documents of 1,000 to 1,500 tokens leave the memory where the first 30 brought it', async () => {
  const db = await createTestDatabase();
  const acme = await createOrganization(db);
  const { child, url } = await start(db.url('flowgres_api'));
  const ask = async (query: string) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${acme.token}` },
      body: JSON.stringify({ query }),
    });
    const { errors } = (await response.json()) as { errors?: unknown };
    expect(errors).toBeUndefined();
  };
  const measure = async (): Promise<Memory> => {
    child.send('measure');
    return (await message(child)) as Memory;
  };
  let seed = 0;
  const send = async (count: number) => {
    for (const last = seed + count; seed < last; seed += 1) await ask(document(seed, 22 + (seed % 8)));
  };
  await send(30);
  const early = await measure();
  await send(rounds(30, 70));
  const late = await measure();
  // Not more than the limits say, so that nothing of it depends on the garbage collector.
  expect(late.kept.documents).toBeLessThanOrEqual(50_000);
  expect(late.kept.plans).toBeLessThanOrEqual(130);
  expect(early.kept.plans).toBe(late.kept.plans);
  expect(late.heap - early.heap).toBeLessThan(80 * MB);
  expect(late.rss).toBeLessThan(700 * MB);
}, 300_000);
