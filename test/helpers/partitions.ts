/** Fixtures for tests of partitions: a stopped clock, tables to partition, runs and events at any time. */
import type pg from 'pg';
import { type TestDatabase, createTestDatabase } from './database.ts';
import { atEndOfFile } from './end_of_file.ts';
import { createOrganization } from './factory.ts';

/** Stops engine.now() at a time for all connections. */
export async function freezeClock(db: TestDatabase, at: string): Promise<void> {
  await db.admin.query(
    `insert into private.test_mode (frozen_at) values ($1)
     on conflict (only_row) do update set frozen_at = excluded.frozen_at`,
    [at],
  );
}

/**
 * Returns a database as if it had been created at a time, where its clock stands, with the partitions of that
 * time.
 */
export async function databaseAt(at: string): Promise<TestDatabase> {
  const template = templates.get(at) ?? templateAt(at);
  templates.set(at, template);
  return createTestDatabase({ unchecked: true, template: await template });
}

const templates = new Map<string, Promise<string>>();
// They are dropped with the other databases of the file.
atEndOfFile(() => templates.clear());

async function templateAt(at: string): Promise<string> {
  const db = await createTestDatabase({ unchecked: true });
  await freezeClock(db, at);
  await db.admin.query(`
    do $$
    begin
      execute (
        select string_agg(format('alter table %s detach partition %s; drop table %2$s', i.inhparent::regclass, i.inhrelid::regclass), ';')
        from pg_inherits as i
        join partitions.managed_tables as p on p.parent = i.inhparent
      );
    end
    $$;
    delete from partitions.maintenance;
    select partitions.maintain()`);
  await db.disconnect();
  return db.name;
}

/**
 * Creates an empty table `readings` of flowgres_owner, partitioned by `key`, and manages it with the given
 * arguments.
 */
export async function manageReadings(db: TestDatabase, policy = '', key = 'ts timestamptz'): Promise<void> {
  const column = key.split(' ')[0];
  await db.admin.query(`
    set role flowgres_owner;
    create table public.readings (
      id bigserial, ${key} not null, value int constraint readings_value_check check (value >= 0), note text,
      constraint readings_pkey primary key (id, ${column})
    ) partition by range (${column});
    create index readings_value_idx on public.readings (value) where value > 0;
    alter table public.readings enable row level security;
    reset role;
    select partitions.manage('public.readings'${policy && `, ${policy}`})`);
}

/** Returns the names of a table's partitions with their bounds, as the catalog prints them. */
export async function partitionsOf(db: TestDatabase, parent: string): Promise<string[]> {
  const { rows } = await db.admin.query<{ line: string }>(
    `select format('%s %s %s', name, to_char(lower at time zone 'UTC', 'YYYY-MM-DD'), to_char(upper at time zone 'UTC', 'YYYY-MM-DD')) as line
     from partitions.of($1)`,
    [parent],
  );
  return rows.map(({ line }) => line);
}

/** Returns the rows of a query, each as one line. */
export async function lines(db: TestDatabase, query: string, values: unknown[] = []): Promise<string[]> {
  const { rows } = await db.admin.query({ text: query, values, rowMode: 'array' });
  return rows.map((row: unknown[]) => row.map((value) => value ?? '-').join(' '));
}

/** Writes runs and events without the engine. */
export interface Log {
  organizationId: string;
  /** Inserts a run whose id has this time, with an event at each of the times. Returns the id. */
  addRun(at: string, events?: string[], status?: string): Promise<string>;
}

/** Creates an organization and returns functions that insert its runs and events over `writers`. */
export async function createLog(
  db: TestDatabase,
  writers: pg.Pool = db.admin,
): Promise<Log & { organization: Awaited<ReturnType<typeof createOrganization>> }> {
  const organization = await createOrganization(db);
  const { rows } = await db.admin.query<{ id: string }>(
    `with workflow as (
       insert into workflows (organization_id, name, definition) values ($1, 'Test', '{}') returning organization_id, id
     )
     insert into workflow_versions (organization_id, workflow_id, version, definition)
     select organization_id, id, 1, '{}' from workflow returning workflow_id as id`,
    [organization.id],
  );
  const addRun: Log['addRun'] = async (at, events = [at], status = 'success') => {
    const { rows: runs } = await writers.query<{ id: string }>(
      `with run as (
         insert into workflow_runs (id, organization_id, workflow_id, version, mode, status, started_at, finished_at)
         select engine.uuid_v7($3), $1, $2, 1, 'api', $5::text, $3,
           case when $5::text in ('success', 'error', 'canceled') then (select max(t) from unnest($4::timestamptz[]) as t) end
         returning organization_id, id
       ), events as (
         insert into workflow_events (organization_id, run_id, seq, ts, type, payload)
         select run.organization_id, run.id, e.seq, e.ts, 'test', '{}'
         from run, unnest($4::timestamptz[]) with ordinality as e (ts, seq)
       )
       select id from run`,
      [organization.id, rows[0]!.id, at, events, status],
    );
    return runs[0]!.id;
  };
  return { organization, organizationId: organization.id, addRun };
}
