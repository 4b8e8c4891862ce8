/** What goes wrong, how often, and how it is brought about. Each fault strikes on its own, whatever the others do. */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { DurableServer } from '../helpers/durable.ts';
import type { Client, Hook } from './client.ts';
import type { Dice } from './dice.ts';
import type { Supervised } from './processes.ts';
import type { BadNetwork } from './bad_network.ts';
import type { Machine } from './machine.ts';
import { fillDisk, jumpMonths, missPartitions } from './soak_faults.ts';

export interface World {
  server: DurableServer;
  /** Before PostgreSQL, for every process of the installation; the tests themselves have a way past it. */
  network: BadNetwork;
  workers: Supervised[];
  /** Serves and works: it begins the first steps of the runs that it starts. */
  both: Supervised;
  client: Client;
  hooks: Hook[];
  /** How long a frozen process or a silent network lasts, in seconds. */
  patience: number;
  machine: Machine;
  /** What a fault saw that must never be. */
  broken: string[];
  startPoison(): Promise<void>;
}

export interface Fault {
  id: string;
  title: string;
  /** Seconds from the end of one strike to the next one. */
  every: [from: number, to: number];
  /** Seconds before the end of the load from which on it does not strike: it takes so long until all is well again. */
  aftermath?: number;
  /** Only the soak profile has it. */
  soak?: true;
  /** What of the machine it needs, which not every one has. */
  needs?: 'disk' | 'clock';
  strike(world: World, dice: Dice): unknown;
}

const seconds = (count: number) => delay(count * 1_000);

export const FAULTS: Fault[] = [
  { id: 'F1', title: 'kill -9 of a worker', every: [2, 4], strike: ({ workers }, dice) => dice.pick(workers).kill() },
  { id: 'F1b', title: 'kill -9 of a process that serves and works', every: [20, 40], strike: ({ both }) => both.kill() },
  { id: 'F2', title: 'a worker frozen for longer than its lease', every: [15, 30], strike: freeze },
  { id: 'F3', title: 'kill -9 of PostgreSQL', every: [9, 15], strike: (world) => endServer(world, 'SIGKILL') },
  { id: 'F4a', title: 'immediate stop of PostgreSQL', every: [40, 60], strike: (world) => endServer(world, 'SIGQUIT') },
  { id: 'F4b', title: 'kill -9 of a backend', every: [40, 60], strike: killBackend },
  { id: 'F5', title: 'a backend terminated', every: [0.3, 2], strike: terminateBackend },
  {
    id: 'F6',
    title: 'the answer to a request lost',
    every: [1, 3],
    strike: ({ network }, dice) => network.loseAnswers(() => dice.chance(0.3)),
  },
  { id: 'F7a', title: 'every connection cut', every: [15, 30], strike: ({ network }) => network.cutAll() },
  { id: 'F7b', title: 'a slow network', every: [20, 40], strike: slowNetwork },
  { id: 'F7c', title: 'a silent network', every: [40, 60], strike: silentNetwork },
  { id: 'F9', title: 'serialization failures, deadlocks and lock timeouts', every: [15, 30], strike: failCalls },
  { id: 'F13', title: 'twenty webhooks with one key at once', every: [1, 2], strike: ({ client }) => client.send(20) },
  { id: 'F15', title: 'a step that kills its worker', every: [30, 45], aftermath: 120, strike: ({ startPoison }) => startPoison() },
  { id: 'F16', title: 'no connection left', every: [40, 60], strike: exhaustConnections },
  { id: 'F20', title: 'a tenant that posts twenty times as much', every: [30, 50], strike: flood },
  { id: 'F10', title: 'the disk full', every: [15, 40], soak: true, needs: 'disk', strike: fillDisk },
  { id: 'F12', title: 'the clock over a month end, and back an hour', every: [15, 40], soak: true, needs: 'clock', strike: jumpMonths },
  { id: 'F17', title: 'no partition for the month that begins', every: [15, 40], soak: true, needs: 'clock', strike: missPartitions },
];

/** Strikes again some time after the server is back, however long that takes here: else nothing would ever be done. */
async function endServer({ server }: World, signal: NodeJS.Signals): Promise<void> {
  await server.signal(signal);
  const isBack = () =>
    server.db.admin.query('select').then(
      () => true,
      () => false,
    );
  do await delay(200);
  while (!(await isBack()));
}

/** A worker that sleeps while another takes over its steps, and then goes on where it was. */
async function freeze({ workers, patience }: World, dice: Dice): Promise<void> {
  const worker = dice.pick(workers);
  worker.signal('SIGSTOP');
  await seconds(patience);
  worker.signal('SIGCONT');
}

async function backend({ server }: World, dice: Dice): Promise<number | undefined> {
  const { rows } = await server.db.admin.query<{ pid: number }>(
    `select pid from pg_stat_activity where datname = current_database() and usename like 'flowgres%' order by pid`,
  );
  return rows.length ? dice.pick(rows).pid : undefined;
}

async function killBackend(world: World, dice: Dice): Promise<void> {
  const pid = await backend(world, dice);
  if (pid) process.kill(pid, 'SIGKILL');
}

async function terminateBackend(world: World, dice: Dice): Promise<void> {
  await world.server.db.admin.query('select pg_terminate_backend($1)', [await backend(world, dice)]);
}

async function slowNetwork({ network }: World): Promise<void> {
  network.slowDown(200);
  await seconds(5);
  network.slowDown(0);
}

async function silentNetwork({ network, patience }: World): Promise<void> {
  network.silence(true);
  await seconds(patience / 2);
  network.silence(false);
}

async function failCalls({ server }: World): Promise<void> {
  const { admin } = server.db;
  await admin.query('update chaos.failures set rate = 0.05');
  await seconds(10);
  await admin.query('update chaos.failures set rate = 0');
}

async function exhaustConnections({ server }: World): Promise<void> {
  const held: pg.Client[] = [];
  try {
    for (;;) {
      const client = new pg.Client({ connectionString: server.db.url('flowgres_api') });
      client.on('error', () => undefined);
      await client.connect();
      held.push(client);
    }
  } catch {
    await seconds(6);
  } finally {
    await Promise.allSettled(held.map((client) => client.end()));
  }
}

async function flood({ client, hooks }: World): Promise<void> {
  const noisy = hooks.find(({ path }) => path.endsWith('/steps'));
  for (let sent = 0; sent < 300; sent += 1) {
    client.send(1, noisy);
    await delay(20);
  }
}

/** Calls of the engine fail as often as `chaos.failures` says, before they do anything, as under contention. */
export async function installFailures(admin: pg.Pool): Promise<void> {
  await admin.query(`
    create schema chaos;
    create table chaos.failures (rate double precision not null);
    insert into chaos.failures values (0);
    create function chaos.maybe_fail() returns void language plpgsql as $body$
    begin
      if random() < (select f.rate from chaos.failures as f) then
        raise exception using errcode = (array['40001', '40P01', '55P03'])[1 + floor(random() * 3)], message = 'chaos';
      end if;
    end $body$;
    do $do$
    declare
      v_function record;
    begin
      for v_function in
        select p.oid::regprocedure as signature, p.proname as name, p.pronargs as arguments,
          pg_get_function_arguments(p.oid) as parameters, pg_get_function_result(p.oid) as result
        from pg_proc as p
        where p.pronamespace = 'engine'::regnamespace and p.proname in ('start_runs', 'begin_steps', 'complete_steps')
      loop
        execute format('alter function %s rename to %I', v_function.signature, v_function.name || '_sound');
        execute format(
          'create function engine.%I(%s) returns %s language plpgsql security definer as $body$
           begin perform chaos.maybe_fail(); return query select * from engine.%I(%s); end $body$',
          v_function.name, v_function.parameters, v_function.result, v_function.name || '_sound',
          (select string_agg('$' || n, ', ') from generate_series(1, v_function.arguments) as n)
        );
      end loop;
    end $do$;`);
}
