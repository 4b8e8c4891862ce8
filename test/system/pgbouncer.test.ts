import { expect, test } from 'vitest';
import { derivePasswords } from '../../src/database/roles.ts';
import { ready, runCli, temporaryFolder } from '../helpers/cli.ts';
import { freePort, launchPgbouncer, startPostgres15, suite } from './packages.ts';

const SECRET = 'a secret of the system tests';

interface Answer {
  data?: { workflows?: { nodes: { name: string }[] } | null };
}

suite('pgbouncer in transaction mode', ['postgresql-15', 'pgbouncer'], () => {
  test('GraphQL requests share one connection, and none sees what another may', async () => {
    const server = await startPostgres15();
    const pooler = await launchPgbouncer(server, { flowgres_api: derivePasswords(SECRET).of('flowgres_api') });
    const folder = await temporaryFolder();
    const cli = runCli(['start'], {
      FLOWGRES_DATA: folder,
      DATABASE_URL: `${server}/flowgres`,
      FLOWGRES_SECRET: SECRET,
      FLOWGRES_POOLER_URL: `postgres://127.0.0.1:${pooler.port}/flowgres`,
      PORT: String(await freePort()),
    });
    const { graphqlUrl, healthUrl, token } = await ready(cli, folder);
    const ask = async (authorization: Record<string, string>): Promise<Answer> => {
      // Without a token there are no workflows to ask for.
      const query = authorization['authorization'] ? '{ workflows { nodes { name } } }' : '{ plans { nodes { name } } }';
      const body = JSON.stringify({ query });
      const response = await fetch(graphqlUrl, { method: 'POST', headers: { 'content-type': 'application/json', ...authorization }, body });
      expect(response.status).toBe(200);
      return (await response.json()) as Answer;
    };
    const answers = await Promise.all(Array.from({ length: 60 }, (_, index) => ask(index % 2 ? { authorization: `Bearer ${token}` } : {})));
    for (const [index, { data }] of answers.entries()) {
      const names = data?.workflows?.nodes.map(({ name }) => name) ?? [];
      expect(names.includes('order-intake'), JSON.stringify(answers[index])).toBe(index % 2 === 1);
    }

    const problems = async () => ((await (await fetch(healthUrl.replace('healthz', 'readyz'))).json()) as { problems: string[] }).problems;
    expect(await problems()).toEqual([]);
    await pooler.stop();
    await expect.poll(problems).toEqual([expect.stringMatching(/^pool graphql: the database does not answer/)]);
  });
});
