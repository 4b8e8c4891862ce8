/** The webhook intake on a port of its own. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Engine, createEnginePool } from '../../src/engine/engine.ts';
import { LiveRuns } from '../../src/engine/live.ts';
import { type WebhookOptions, createWebhookHandler } from '../../src/webhooks/webhooks.ts';

/** A running intake. */
export interface TestIntake {
  origin: string;
  close(): Promise<void>;
}

/** A source without credentials. */
export const noCredentials: WebhookOptions['credentials'] = {
  open: ({ name }) => Promise.reject(new Error(`no credential ${name}`)),
};

/** Starts the intake, which logs in by this connection string. */
export async function serveIntake(
  connectionString: string,
  options: Omit<WebhookOptions, 'engine' | 'live' | 'credentials'> & Partial<Pick<WebhookOptions, 'credentials'>> = {},
): Promise<TestIntake> {
  const pool = createEnginePool(connectionString, 'test intake');
  const live = new LiveRuns(connectionString);
  const handler = createWebhookHandler({ credentials: noCredentials, ...options, engine: new Engine(pool), live });
  const server = createServer(handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await handler.close();
      await live.close();
      await pool.end();
    },
  };
}
