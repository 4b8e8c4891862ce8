/**
 * The attacked installation: `flowgres serve --work` as a separate process, a peer for its requests, and
 * organizations.
 */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type pg from 'pg';
import { createPool } from '../../src/database/connections.ts';
import { Passwords } from '../../src/accounts/passwords.ts';
import { TEST_SECRET } from '../../tools/build-database.ts';
import type { Definition } from '../../test/helpers/factory.ts';
import type { BenchServer } from '../server.ts';

const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const RSS_EVERY_MS = 200;
/** The password of accounts for which none is given. */
export const PASSWORD = 'correct horse battery';

/** An organization with its tokens. */
export interface Tenant {
  id: string;
  webhookKey: string;
  userId: string;
  email: string;
  /** API tokens with all scopes. */
  tokens: string[];
}

/** The running installation. */
export interface Installation {
  /** Address of the attacked process: `http://127.0.0.1:port`. */
  url: string;
  /** Address of a peer that its requests may reach: `http://127.0.0.1:port`. */
  peer: string;
  admin: pg.Pool;
  createTenant(name: string, tokens?: number): Promise<Tenant>;
  /** Creates an account, with a user if the address has none; the password is PASSWORD when not given. */
  createAccount(email: string, password?: string): Promise<void>;
  publish(tenant: Tenant, name: string, definition: Definition): Promise<string>;
  /** Cancels all runs of the organization and waits until they have ended, up to `withinMs` milliseconds. */
  quiet(tenant: Tenant, withinMs: number): Promise<void>;
  /** Returns the largest resident memory of the process since the last call, in MB. */
  peakMemory(): number;
  /** Returns the problems that the process has logged since the last call. */
  complaints(): string[];
  stop(): Promise<void>;
}

/** Starts the installation on a benchmark server. */
export async function startInstallation(server: BenchServer): Promise<Installation> {
  const admin = createPool(server.adminUrl, { name: 'bench', max: 4 });
  const peer = fork(new URL('peer.ts', import.meta.url));
  const [peerPort] = (await once(peer, 'message')) as [number];
  const { child, url, complaints } = await startServe(server.adminUrl, `127.0.0.1:${peerPort}`);
  const memory = watchMemory(child.pid!);
  return {
    url,
    peer: `http://127.0.0.1:${peerPort}`,
    admin,
    createTenant: (name, tokens = 1) => createTenant(admin, name, tokens),
    createAccount: (email, password = PASSWORD) => createAccount(admin, email, password),
    publish: (tenant, name, definition) => publish(admin, tenant, name, definition),
    quiet: (tenant, withinMs) => quiet(admin, tenant, withinMs),
    peakMemory: memory.peak,
    complaints,
    stop: async () => {
      memory.stop();
      for (const each of [child, peer]) await end(each);
      await admin.end();
    },
  };
}

/** Starts `flowgres serve --work` as a process of its own; `allowed` is the peer that its requests may reach. */
export async function startServe(adminUrl: string, allowed: string) {
  const child = spawn(process.execPath, ['--max-old-space-size=512', MAIN, 'serve', '--work'], {
    env: {
      ...process.env,
      DATABASE_URL: adminUrl,
      FLOWGRES_SECRET: TEST_SECRET,
      FLOWGRES_HTTP_ALLOW: allowed,
      // Attackers and victims use networks of their own.
      FLOWGRES_PROXIES: '1',
      HOST: '127.0.0.1',
      PORT: '0',
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: string[] = [];
  child.stderr.setEncoding('utf8').on('data', (text: string) => said.push(...text.split('\n').filter(Boolean)));
  child.once('exit', (code, signal) => said.push(`The process ended: ${signal ?? code}`));
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const found = /on (http:[^\s",]+)/.exec(text)?.[1];
      if (found) resolve(found.replace(/\/$/, ''));
    });
    child.once('exit', () => reject(new Error(`flowgres serve --work did not start:\n${said.join('\n')}`)));
  });
  return { child, url, complaints: () => said.splice(0) };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  await once(child, 'exit');
}

function watchMemory(pid: number) {
  let highest = 0;
  const read = async () => {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    highest = Math.max(highest, Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1000);
  };
  const timer = setInterval(read, RSS_EVERY_MS);
  return {
    stop: () => clearInterval(timer),
    peak: () => {
      const result = highest;
      highest = 0;
      return result;
    },
  };
}

/** Calls `work` on a connection whose context ends with the transaction. */
async function asOwner<T>(admin: pg.Pool, tenant: Pick<Tenant, 'id' | 'userId'>, work: (client: pg.ClientBase) => Promise<T>): Promise<T> {
  const client = await admin.connect();
  try {
    await client.query('select set_context($1, $2)', [tenant.id, tenant.userId]);
    return await work(client);
  } finally {
    client.release(true);
  }
}

async function createTenant(admin: pg.Pool, name: string, count: number): Promise<Tenant> {
  const slug = `${name.toLowerCase().replaceAll(/[^a-z]+/g, '-')}-${randomBytes(3).toString('hex')}`;
  const email = `owner@${slug}.example`;
  const client = await admin.connect();
  try {
    const { rows: users } = await client.query<{ id: string }>(
      'insert into users (name, email, email_verified_at) values ($1, $2, now()) returning id',
      [`Owner of ${name}`, email],
    );
    const userId = users[0]!.id;
    await client.query('select set_context(null, $1)', [userId]);
    const { rows } = await client.query<{ id: string; webhook_key: string }>('select id, webhook_key from create_organization($1, $2)', [
      name,
      slug,
    ]);
    const tokens: string[] = [];
    for (let each = 0; each < count; each += 1) {
      const { rows: made } = await client.query<{ secret: string }>(
        `select secret from create_api_token($1, '{workflows:write,runs:write,organization:write}')`,
        [`token ${each}`],
      );
      tokens.push(made[0]!.secret);
    }
    return { id: rows[0]!.id, webhookKey: rows[0]!.webhook_key, userId, email, tokens };
  } finally {
    client.release(true);
  }
}

async function createAccount(admin: pg.Pool, email: string, password: string): Promise<void> {
  await admin.query(
    `with made as (
       insert into users (name, email, email_verified_at) values ('A person', $1, now())
       on conflict do nothing returning id
     )
     insert into private.passwords (user_id, hash, changed_at)
     select coalesce((select id from made), (select id from users where email = $1)), $2, now()`,
    [email, await new Passwords().hash(password)],
  );
}

async function publish(admin: pg.Pool, tenant: Tenant, name: string, definition: Definition): Promise<string> {
  return asOwner(admin, tenant, async (client) => {
    const { rows } = await client.query<{ id: string }>('select id from create_workflow($1, $2)', [name, JSON.stringify(definition)]);
    await client.query('select publish_workflow($1)', [rows[0]!.id]);
    return rows[0]!.id;
  });
}

async function quiet(admin: pg.Pool, tenant: Tenant, withinMs: number): Promise<void> {
  await asOwner(admin, tenant, async (client) => {
    const { rows } = await client.query<{ id: string }>(
      'select id from workflows where organization_id = $1 and published_version is not null',
      [tenant.id],
    );
    for (const { id } of rows) await client.query('select unpublish_workflow($1)', [id]);
    await client.query(`select cancel_runs('{}')`);
  });
  const until = performance.now() + withinMs;
  for (;;) {
    const { rows } = await admin.query<{ left: number }>(
      `select count(*)::int as left from workflow_runs where organization_id = $1 and finished_at is null`,
      [tenant.id],
    );
    if (rows[0]!.left === 0) return;
    if (performance.now() > until) throw new Error(`${rows[0]!.left} runs of an attacker did not end after they were canceled.`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}
