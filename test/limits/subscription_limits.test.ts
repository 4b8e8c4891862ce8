import { expect, test } from 'vitest';
import type { LiveRuns } from '../../src/engine/live.ts';
import { type Topic, type RequestContext, subscribe } from '../../src/graphql/subscribe.ts';
import { SharedReads } from '../../src/graphql/shared_reads.ts';
import { BURST_SECONDS, SubscriptionLimits } from '../../src/limits/subscription_limits.ts';

const settings = { perToken: 2, perOrganization: 3, readsPerSecond: 1_000 };

test('a token and an organization have so many subscriptions, and room for another when one has ended', () => {
  const limits = new SubscriptionLimits(settings);
  const first = limits.enter('token', 'a');
  limits.enter('token', 'a');
  expect(() => limits.enter('token', 'a')).toThrow('There are 2 subscriptions of this token already.');
  limits.enter('token', 'b');
  first();
  first();
  limits.enter('token', 'a');
  expect(() => limits.enter('token', 'a')).toThrow('2 subscriptions');
  for (let count = 0; count < 3; count += 1) limits.enter('organization', 'a');
  expect(() => limits.enter('organization', 'a')).toThrow('There are 3 subscriptions of this organization already.');
});

test('the reads of an organization have a rate, those of another one do not wait for it', async () => {
  const limits = new SubscriptionLimits({ ...settings, readsPerSecond: 20 });
  const startedAt = performance.now();
  const atOnce = 20 * BURST_SECONDS;
  const busy = Promise.all(Array.from({ length: atOnce + 5 }, () => limits.pace('busy')));
  await limits.pace('quiet');
  const quietMs = performance.now() - startedAt;
  await busy;
  const busyMs = performance.now() - startedAt;
  // What may be read at once, and the other five 50 ms apart.
  expect(busyMs).toBeGreaterThan(150);
  expect(quietMs).toBeLessThan(busyMs);
});

test('those who ask the same before it is read are answered by one read, those who ask later are not', async () => {
  const limits = new SubscriptionLimits(settings);
  let reads = 0;
  let next = Promise.withResolvers<number>();
  const read = () => {
    reads += 1;
    return next.promise;
  };
  const [first, second] = [limits.share('key', 'a', read), limits.share('key', 'a', read)];
  const other = limits.share('other key', 'a', async () => -1);
  await expect.poll(() => reads).toBe(1);
  const waiting = next;
  next = Promise.withResolvers();
  const third = limits.share('key', 'a', read);
  waiting.resolve(1);
  expect(await Promise.all([first, second, other])).toEqual([1, 1, -1]);
  await expect.poll(() => reads).toBe(2);
  next.resolve(2);
  expect(await third).toBe(2);
});

test('a hundred subscribers of a thing read it once for each change, and none is left out or told twice', async () => {
  let tell: (runs: readonly string[]) => void = () => undefined;
  const listeners = new Set<(runs: readonly string[], workflows: readonly string[]) => void>();
  const live = {
    subscribe(listener: (runs: readonly string[], workflows: readonly string[]) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  } as unknown as LiveRuns;
  tell = (runs) => {
    for (const listener of listeners) listener(runs, []);
  };
  const log = ['one'];
  let queries = 0;
  const request = {
    pgSettings: { role: 'flowgres_user', 'flowgres.session': 'a' },
    withPgClient: async (_settings: unknown, use: (client: unknown) => unknown) =>
      use({
        query: async ({ values }: { values: number[] }) => {
          queries += 1;
          return { rows: log.slice(values[0]) };
        },
      }),
  } as unknown as RequestContext;
  const followed = (): Topic<string> => {
    let seen = 0;
    return {
      thing: 'run',
      concerns: (runs) => runs.includes('run'),
      query: () => ({ text: 'next', values: [seen] }),
      page(rows) {
        seen += rows.length;
        return { organizationId: 'acme', items: rows as string[], full: false, done: seen === 3 };
      },
    };
  };
  const limits = new SubscriptionLimits({ perToken: 1_000, perOrganization: 1_000, readsPerSecond: 100_000 });
  const streams = await Promise.all(
    Array.from({ length: 100 }, () => subscribe({ live, limits, reads: new SharedReads() }, request, followed())),
  );
  const heard = streams.map(() => [] as string[]);
  const all = Promise.all(
    streams.map(async (stream, index) => {
      for await (const item of stream) heard[index]!.push(item);
    }),
  );
  const everybodyHeard = (count: number) => expect.poll(() => heard.every((items) => items.length === count)).toBe(true);
  await everybodyHeard(1);
  for (const event of ['two', 'three']) {
    log.push(event);
    tell(['another run']);
    tell(['run']);
    await everybodyHeard(log.length);
  }
  await all;
  expect(heard.every((items) => items.join() === 'one,two,three')).toBe(true);
  expect(queries).toBe(3);
  expect(listeners.size).toBe(0);
});
