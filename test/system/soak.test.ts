/** The soak of partitions: a reader that stays for a minute, and a quarter of one after it. FLOWGRES_SOAK_SECONDS changes the minute. */
import { describe, onTestFinished, test } from 'vitest';
import { buildDatabase } from '../../tools/build-database.ts';
import { openDatabase } from '../helpers/database.ts';
import { startTemporary } from '../helpers/server.ts';
import { soakPartitions } from '../helpers/soak.ts';
import { startPostgres15, suite } from './packages.ts';

const READER_SECONDS = Number(process.env['FLOWGRES_SOAK_SECONDS'] ?? 60);
const SECONDS = Math.ceil(READER_SECONDS * 1.25);
const MEMORY = { max_locks_per_transaction: '256', shared_buffers: '256MB', max_wal_size: '2GB' };

async function soak(serverUrl: string): Promise<void> {
  await buildDatabase(serverUrl, 'soak');
  const db = openDatabase(serverUrl, 'soak', false);
  try {
    await soakPartitions(db, { seconds: SECONDS, readerSeconds: READER_SECONDS });
  } finally {
    await db.drop();
  }
}

const sentence = 'no insert fails or waits for long, and no maintainer errs, while the clock crosses months';

describe('PostgreSQL 18', () => {
  test(sentence, { timeout: (4 * SECONDS + 60) * 1000 }, async () => {
    const { url, stop } = await startTemporary();
    onTestFinished(stop);
    await soak(url);
  });
});

suite('PostgreSQL 15', ['postgresql-15'], () => {
  test(sentence, { timeout: (4 * SECONDS + 60) * 1000 }, async () => {
    await soak(await startPostgres15(MEMORY));
  });
});
