import { expect, test } from 'vitest';
import { derivePasswords } from '../../src/roles.ts';
import { ready, runCli, temporaryFolder } from '../helpers/cli.ts';
import { freePort, startPgbouncer, startPostgres15, suite } from './packages.ts';

const SECRET = 'a secret of the system tests';

interface Answer {
  data?: { workflows?: { nodes: { name: string }[] } | null };
}

suite('pgbouncer in transaction mode', ['postgresql-15', 'pgbouncer'], () => {
  test('GraphQL requests share one connection, and none sees what another may', async () => {
    const server = await startPostgres15();
    const pooler = await startPgbouncer(server, { flowgres_api: derivePasswords(SECRET).of('flowgres_api') });
    const folder = await temporaryFolder();
    const cli = runCli(['start'], {
      FLOWGRES_DATA: folder,
      DATABASE_URL: `${server}/flowgres`,
      FLOWGRES_SECRET: SECRET,
      FLOWGRES_POOLER_URL: `postgres://127.0.0.1:${pooler}/flowgres`,
      // This pgbouncer does not know prepared statements yet.
      DATAPLAN_PG_PREPARED_STATEMENT_CACHE_SIZE: '0',
      PORT: String(await freePort()),
    });
    const { graphqlUrl, token } = await ready(cli, folder);
    const body = JSON.stringify({ query: '{ workflows { nodes { name } } }' });
    const ask = async (authorization: Record<string, string>): Promise<Answer> => {
      const response = await fetch(graphqlUrl, { method: 'POST', headers: { 'content-type': 'application/json', ...authorization }, body });
      // One connection is little for sixty at once: who has waited too long is told to come again.
      return response.status === 503 ? ask(authorization) : ((await response.json()) as Answer);
    };
    const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => ask(index % 2 ? { authorization: `Bearer ${token}` } : {})));
    for (const [index, { data }] of answers.entries()) {
      const names = data?.workflows?.nodes.map(({ name }) => name) ?? [];
      expect(names.includes('order-intake'), JSON.stringify(answers[index])).toBe(index % 2 === 1);
    }
  });
});
