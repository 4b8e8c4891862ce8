/** What a process has little of, and how it is shared. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FairShare, type Release } from '../../src/limits/fair_share.ts';
import { type Slot, Slots } from '../../src/worker/slots.ts';

test('slots are granted in the order of the calls, and never more than there are', async () => {
  const slots = new Slots(2);
  const [first, second] = [slots.tryAcquire(), slots.tryAcquire()];
  expect([first, second, slots.tryAcquire()]).toEqual([expect.anything(), expect.anything(), undefined]);
  const order: string[] = [];
  const wait = async (name: string): Promise<Slot | undefined> => {
    const slot = await slots.acquire(60_000);
    order.push(name);
    return slot;
  };
  const [third, fourth] = [wait('third'), wait('fourth')];
  first?.release();
  first?.release();
  await third;
  expect([order, slots.used]).toEqual([['third'], 2]);
  second?.release();
  await fourth;
  expect(order).toEqual(['third', 'fourth']);
});

test('who waits for a slot too long, or while it is closed, gets none', async () => {
  const slots = new Slots(1);
  slots.tryAcquire();
  expect(await slots.acquire(1)).toBeUndefined();
  const waiting = slots.acquire(60_000);
  slots.close();
  expect(await waiting).toBeUndefined();
  expect(slots.tryAcquire()).toBeUndefined();
});

const amounts = fc.array(fc.record({ key: fc.constantFrom('a', 'b', 'c'), amount: fc.integer({ min: 1, max: 12 }), keep: fc.boolean() }), {
  maxLength: 40,
});

test('a share never hands out more than there is, and leaves nobody waiting once everything is given back', async () => {
  await fc.assert(
    fc.asyncProperty(amounts, async (requests) => {
      const share = new FairShare(10);
      let out = 0;
      const granted: Promise<void>[] = [];
      const held: (() => void)[] = [];
      for (const { key, amount, keep } of requests) {
        granted.push(
          share.acquire(key, amount).then((release: Release) => {
            out += Math.min(amount, 10);
            expect(out).toBeLessThanOrEqual(10);
            const returnStep = () => {
              out -= Math.min(amount, 10);
              release();
              release();
            };
            if (keep) held.push(returnStep);
            else returnStep();
          }),
        );
      }
      const all = Promise.all(granted);
      let done = false;
      void all.then(() => {
        done = true;
      });
      while (!done) {
        held.shift()?.();
        await new Promise((resolve) => setImmediate(resolve));
      }
      for (const returnStep of held) returnStep();
      expect(share.free).toBe(10);
    }),
    { numRuns: 50 },
  );
});

test('whoever holds most of a share leaves some of it to a newcomer, who comes before it in the queue', async () => {
  const share = new FairShare(8);
  const first = await Promise.all(['busy', 'busy', 'busy', 'busy'].map((key) => share.acquire(key, 1)));
  const order: string[] = [];
  const more = share.acquire('busy', 1).then(() => order.push('busy'));
  await share.acquire('quiet', 1);
  const other = await share.acquire('other', 2);
  const second = share.acquire('quiet', 1).then(() => order.push('quiet'));
  expect(share.free).toBe(1);
  other();
  await second;
  expect(order).toEqual(['quiet']);
  for (const release of first) release();
  await more;
  expect(order).toEqual(['quiet', 'busy']);
});

test('who gives up waiting for a share is forgotten', async () => {
  const share = new FairShare(1);
  const release = await share.acquire('a', 1);
  const gone = new AbortController();
  const waiting = share.acquire('b', 1, gone.signal);
  gone.abort(new Error('gone'));
  await expect(waiting).rejects.toThrow('gone');
  release();
  expect(share.free).toBe(1);
});
