/**
 * One of two servers of the benchmark, in a separate process: PostGraphile as in production, or plain node that
 * sends the statement that PostGraphile sends, with the same settings and a pool of the same size, as one
 * writes it with pg: begin, settings, statement and commit, the middle two prepared. The latter checks no token
 * and no cost, and returns the rows unchanged. Answers a message to the process with the CPU time used.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { createPool } from '../src/database/connections.ts';
import { sessionOf } from '../src/http/auth.ts';
import { createGraphql } from '../src/graphql/server.ts';
import { settingsOf } from '../src/graphql/preset.ts';

const Statement = z.object({ text: z.string(), values: z.array(z.unknown()) });
const { url: connectionString, statement } = z
  .object({ url: z.string(), statement: Statement.optional() })
  .parse(JSON.parse(process.env['BENCH_GRAPHQL'] ?? '{}'));
const POOL = 20;

async function rawHandler(raw: z.infer<typeof Statement>) {
  const pool = createPool(connectionString, { name: 'bench raw', max: POOL });
  return async (authorization: string | undefined): Promise<string> => {
    const settings = JSON.stringify(Object.entries(settingsOf(sessionOf(authorization), '')));
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query({
        name: 'settings',
        text: `select set_config(el->>0, el->>1, true) from json_array_elements($1::json) el`,
        values: [settings],
      });
      const { rows } = await client.query({ name: 'list', text: raw.text, values: raw.values, rowMode: 'array' });
      await client.query('commit');
      return JSON.stringify({ data: rows });
    } finally {
      client.release();
    }
  };
}

const raw = statement && (await rawHandler(statement));
const graphql = raw ? undefined : await createGraphql({ connectionString, maxConnections: POOL, accessLogSample: 0 });
const server = createServer(async (request, response) => {
  if (graphql) return graphql.handle(request, response);
  await text(request);
  response.writeHead(200, { 'content-type': 'application/json' }).end(await raw?.(request.headers.authorization));
});
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.on('message', () => process.send?.(process.cpuUsage()));
process.once('SIGTERM', () => process.exit(0));
