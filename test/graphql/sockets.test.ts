import { expect, test } from 'vitest';
import { LIMITS } from '../../src/graphql/limits.ts';
import { cutOffUnread } from '../../src/graphql/sockets.ts';

test('a client that does not read what it is sent is cut off', () => {
  const sent: unknown[] = [];
  const socket = {
    bufferedAmount: 0,
    ended: false,
    close: () => undefined,
    terminate() {
      this.ended = true;
    },
    send(text: string) {
      sent.push(text);
      this.bufferedAmount += text.length;
    },
  };
  cutOffUnread(socket);
  for (let count = 0; count < 4; count += 1) (socket.send as (text: string) => void)('x'.repeat(LIMITS.maxUnreadBytes / 4));
  expect([sent.length, socket.ended]).toEqual([4, false]);
  socket.send('x');
  expect(socket.ended).toBe(true);
});
