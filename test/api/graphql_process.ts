/** A GraphQL server as a process of its own, whose memory is measured: node graphql_process.ts <connection string> */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createGraphql } from '../../src/graphql/server.ts';

const [connectionString = ''] = process.argv.slice(2);
const graphql = await createGraphql({ connectionString });
const http = createServer(graphql.handle);
http.listen(0, '127.0.0.1', () => process.send?.({ url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/graphql` }));
process.on('message', () => {
  globalThis.gc?.();
  process.send?.({ rss: process.memoryUsage().rss, heap: process.memoryUsage().heapUsed, kept: graphql.kept() });
});
