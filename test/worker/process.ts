/** A worker as a process of its own, for tests that kill it: node process.ts <connection string> <allowed host:port> */
import { startWorker } from '../../src/worker/start.ts';

const [connectionString = '', allowed = ''] = process.argv.slice(2);
await startWorker({ connectionString, concurrency: 10, nodes: { httpAllow: [allowed] } });
process.send?.('ready');
