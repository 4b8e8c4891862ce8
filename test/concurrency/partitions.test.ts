import { test } from 'vitest';
import { createTestDatabase } from '../helpers/database.ts';
import { soakPartitions } from '../helpers/soak.ts';

/** `npm run test:system` does it for longer, and on PostgreSQL 15 as well. */
test('no insert fails or waits for long, and no maintainer errs, while the clock crosses months', async () => {
  await soakPartitions(await createTestDatabase({ unchecked: true }), { seconds: 8, readerSeconds: 4 });
}, 60_000);
