import { expect, test } from 'vitest';
import { SharedSlots } from '../../src/engine/slots.ts';

test('an owner has so many slots, and waits for nobody else', async () => {
  const slots = new SharedSlots(2);
  const order: string[] = [];
  const open: (() => void)[] = [];
  const use = (owner: string, name: string) =>
    slots.use(owner, () => {
      order.push(name);
      return new Promise<void>((resolve) => open.push(resolve));
    });
  const calls = [use('a', 'a1'), use('a', 'a2'), use('a', 'a3'), use('b', 'b1')];
  await expect.poll(() => order).toEqual(['a1', 'a2', 'b1']);
  open.shift()?.();
  await expect.poll(() => order).toEqual(['a1', 'a2', 'b1', 'a3']);
  for (const finish of open) finish();
  await Promise.all(calls);
});

test('a call that fails gives its slot back', async () => {
  const slots = new SharedSlots(1);
  await expect(slots.use('a', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await expect(slots.use('a', () => Promise.resolve('yes'))).resolves.toBe('yes');
});
