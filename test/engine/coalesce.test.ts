import { describe, expect, test } from 'vitest';
import { type CoalesceOptions, Coalescer } from '../../src/engine/coalesce.ts';

interface OpenBatch {
  requests: string[];
  /** Answers each request with itself in upper case. */
  finish(): void;
}

/** A coalescer whose batches end when the test says so. */
function controlled(options: CoalesceOptions = {}) {
  const open: OpenBatch[] = [];
  const sizes: number[] = [];
  let inFlight = 0;
  let mostInFlight = 0;
  const coalescer = new Coalescer<string>((batch) => {
    const requests = batch.map(({ text }) => text);
    sizes.push(requests.length);
    inFlight += 1;
    mostInFlight = Math.max(mostInFlight, inFlight);
    return new Promise((resolve) => {
      const finish = () => {
        inFlight -= 1;
        resolve(requests.map((request) => ({ status: 'fulfilled', value: request.toUpperCase() })));
      };
      open.push({ requests, finish });
    });
  }, options);
  const next = async () => {
    await expect.poll(() => open.length).toBeGreaterThan(0);
    return open.shift() as OpenBatch;
  };
  return { coalescer, sizes, next, mostInFlight: () => mostInFlight };
}

describe('a coalescer', () => {
  test('gives every caller the answer to its own request', async () => {
    const { coalescer, next } = controlled();
    const calls = ['a', 'b', 'c'].map((request) => coalescer.call(request));
    (await next()).finish();
    expect(await Promise.all(calls)).toEqual(['A', 'B', 'C']);
  });

  test('sends a lone request at once', async () => {
    const { coalescer, next } = controlled({ maxDelayMs: 60_000 });
    const call = coalescer.call('a');
    const batch = await next();
    expect(batch.requests).toEqual(['a']);
    batch.finish();
    expect(await call).toBe('A');
  });

  test('lets what arrives meanwhile form the next batch, as soon as the first has ended', async () => {
    const { coalescer, sizes, next } = controlled({ maxDelayMs: 60_000 });
    const calls = [coalescer.call('a')];
    const first = await next();
    calls.push(...Array.from({ length: 99 }, (_, index) => coalescer.call(`b${index}`)));
    first.finish();
    (await next()).finish();
    await Promise.all(calls);
    expect(sizes).toEqual([1, 99]);
  });

  test('starts a second batch after the delay or when it is full, never a third', async () => {
    const { coalescer, next, mostInFlight } = controlled({ maxDelayMs: 1, maxRequests: 3 });
    const calls = [coalescer.call('a')];
    const first = await next();
    calls.push(coalescer.call('b'));
    const second = await next();
    calls.push(...['c', 'd', 'e', 'f'].map((request) => coalescer.call(request)));
    for (const batch of [first, second]) batch.finish();
    const third = await next();
    third.finish();
    expect(third.requests).toEqual(['c', 'd', 'e']);
    (await next()).finish();
    expect(await Promise.all(calls)).toEqual(['A', 'B', 'C', 'D', 'E', 'F']);
    expect(mostInFlight()).toBe(2);
  });

  test('keeps batches within the size; one larger request goes alone', async () => {
    const { coalescer, sizes, next } = controlled({ maxSize: 10 });
    const calls = ['12345', '12345', '1', 'x'.repeat(50), '1'].map((request) => coalescer.call(request));
    for (let batch = 0; batch < 4; batch += 1) (await next()).finish();
    await Promise.all(calls);
    expect(sizes).toEqual([2, 1, 1, 1]);
  });

  test('rejects one request without the others, and all when the handler fails', async () => {
    const coalescer = new Coalescer<string>(async (batch) => {
      const requests = batch.map(({ text }) => text);
      if (requests.includes('boom')) throw new Error('boom');
      return requests.map((request) =>
        request === 'bad' ? { status: 'rejected', reason: new Error('bad') } : { status: 'fulfilled', value: request },
      );
    });
    expect(await Promise.allSettled(['good', 'bad'].map((request) => coalescer.call(request)))).toMatchObject([
      { status: 'fulfilled', value: 'good' },
      { status: 'rejected', reason: { message: 'bad' } },
    ]);
    await expect(coalescer.call('boom')).rejects.toThrow('boom');
    await expect(coalescer.call('good')).resolves.toBe('good');
  });

  test('answers the others of a batch while one is still worked on, and sends the next batch', async () => {
    const slow = Promise.withResolvers<string>();
    const coalescer = new Coalescer<string>(
      async (batch) => batch.map(({ text }) => (text === 'slow' ? slow.promise : { status: 'fulfilled', value: text })),
      { maxInFlight: 1 },
    );
    const late = coalescer.call('slow');
    expect(await coalescer.call('quick')).toBe('quick');
    expect(await coalescer.call('next')).toBe('next');
    slow.resolve('done');
    expect(await late).toBe('done');
  });

  test('gives each owner an equal part of a full batch', async () => {
    const { coalescer, next } = controlled({ maxRequests: 4, maxInFlight: 1 });
    const calls = [coalescer.call('first')];
    const first = await next();
    calls.push(...['a1', 'a2', 'a3', 'a4', 'a5'].map((text) => coalescer.call(text, 'a')), coalescer.call('b1', 'b'));
    first.finish();
    const second = await next();
    expect(second.requests).toEqual(['a1', 'b1', 'a2', 'a3']);
    second.finish();
    const third = await next();
    expect(third.requests).toEqual(['a4', 'a5']);
    third.finish();
    expect(await Promise.all(calls)).toHaveLength(7);
  });
});

test('refuses what is too much of one owner, until its requests have answers', async () => {
  const { coalescer, next } = controlled({ ofOwner: { requests: 2, size: 100 } });
  const calls = ['a1', 'a2'].map((text) => coalescer.call(text, 'a'));
  await expect(coalescer.call('a3', 'a')).rejects.toMatchObject({ code: 'RATE_LIMITED', details: { retryAfterMs: 1_000 } });
  calls.push(coalescer.call('b1', 'b'));
  const batch = await next();
  expect(batch.requests).toEqual(['a1', 'a2', 'b1']);
  // What is worked on counts as well.
  await expect(coalescer.call('a3', 'a')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  batch.finish();
  await Promise.all(calls);
  const large = coalescer.call('x'.repeat(101), 'a');
  await expect(coalescer.call('a4', 'a')).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  (await next()).finish();
  expect(await large).toHaveLength(101);
});
