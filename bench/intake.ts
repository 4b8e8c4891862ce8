/** The webhook intake of the benchmark, in a separate process as in production. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Engine, createEnginePool } from '../src/engine/engine.ts';
import { LiveRuns } from '../src/engine/live.ts';
import { Credentials } from '../src/vault/credentials.ts';
import { Vault } from '../src/vault/vault.ts';
import { createWebhookHandler } from '../src/webhooks/webhooks.ts';

const connectionString = process.env['INTAKE_URL'] ?? '';
const live = new LiveRuns(connectionString);
const pool = createEnginePool(connectionString, 'bench intake');
const file = process.env['INTAKE_KEYS'];
const credentials = new Credentials(pool, file ? await Vault.read({ file }) : undefined);
const handle = createWebhookHandler({ engine: new Engine(pool), live, credentials });
const server = createServer((request, response) => void handle(request, response));
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));
process.once('SIGTERM', () => process.exit(0));
