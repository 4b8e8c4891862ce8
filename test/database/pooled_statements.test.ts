/** Behind a pooler in transaction mode a statement has no name: each transaction may get another connection. */
import { readFileSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';

const root = new URL('../../src/', import.meta.url);
/** The parts of src/ that ask over the pooled connections. */
const POOLED = /^(?:graphql|http|limits|accounts|webhooks)\//;

test('no statement of the server has a name of its own', () => {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) => POOLED.test(file) && file.endsWith('.ts'));
  expect(files.length).toBeGreaterThan(30);
  // pg_service.ts names statements where the pooler, or its absence, allows it.
  const named = files
    .filter((file) => file !== 'graphql/pg_service.ts')
    .filter((file) =>
      /\bname: [^\n]*,\s*text\b|\btext(?:: [^\n]*)?,\s*name: |\bprepare\s+\w+\s+as\b/.test(readFileSync(new URL(file, root), 'utf8')),
    );
  expect(named).toEqual([]);
});
