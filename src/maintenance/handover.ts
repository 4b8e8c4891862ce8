/** Moves the jobs of the built-in scheduler to the extension pg_cron in one transaction: all jobs, or none. */
import pg from 'pg';
import { connect } from '../database/connections.ts';
import { FlowgresError } from '../errors.ts';
import { openPgCron } from '../database/pg_cron.ts';

/** A row of cron.job. */
export interface Job {
  jobid: number;
  jobname: string | null;
  schedule: string;
  command: string;
  database: string;
  username: string;
  active: boolean;
}

/**
 * Moves all jobs and returns them.
 *
 * @param adminUrl connection string of a superuser
 * @param save receives the jobs before anything is changed; when it rejects, nothing is
 */
export async function handOver(adminUrl: string, save: (jobs: Job[]) => Promise<void>): Promise<Job[]> {
  const client = await connect(adminUrl);
  try {
    await requirePgCron(client);
    await client.query('begin');
    // From here on the built-in scheduler starts no job: its next tick waits for the lock, and then finds its
    // tables removed.
    await client.query('lock table cron.job_state, cron.runner, cron.job, cron.job_run_details in access exclusive mode');
    const { rows: jobs } = await client.query<Job>(
      'select jobid, jobname, schedule, command, database, username, active from cron.job order by jobid',
    );
    await save(jobs);
    await client.query(`
      create temporary table ended on commit drop as
        select * from cron.job_run_details where status in ('succeeded', 'failed');
      drop schema cron cascade;
      create extension pg_cron;
      insert into cron.job_run_details select * from ended;
      select setval('cron.runid_seq', greatest(max(runid), 1)) from ended`);
    await openPgCron(client);
    for (const job of jobs) await schedule(client, job);
    await client.query('commit');
    return jobs;
  } finally {
    // Ending the session rolls back an open transaction.
    await client.end();
  }
}

/**
 * Creates the same job with the same id. pg_cron accepts a job of another user only with a name, so a job without
 * one has a name until it is stored.
 */
async function schedule(client: pg.Client, job: Job): Promise<void> {
  const { jobid, jobname, schedule: times, command, database, username, active } = job;
  try {
    await client.query(`select setval('cron.jobid_seq', $1, false)`, [jobid]);
    await client.query('select cron.schedule_in_database($1, $2, $3, $4, $5, $6)', [
      jobname ?? `job ${jobid}`,
      times,
      command,
      database,
      username,
      active,
    ]);
    if (jobname === null) await client.query('update cron.job set jobname = null where jobid = $1', [jobid]);
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    throw new FlowgresError(
      'HANDOVER_REFUSED',
      `pg_cron refuses job ${jobid}${jobname ? ` (${jobname})` : ''}: ${error.message}. Nothing was changed.`,
      {
        hint: 'Alter or unschedule that job, then hand over again; docs/reference/scheduling.md lists what this pg_cron may not know.',
        cause: error,
      },
    );
  }
}

async function requirePgCron(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ here: string; home: string | null; is_ours: boolean; is_available: boolean }>(`
    select
      current_database() as here,
      current_setting('cron.database_name', true) as home,
      to_regclass('cron.job_state') is not null as is_ours,
      exists (select from pg_available_extensions where name = 'pg_cron') as is_available`);
  const { here, home, is_ours, is_available } = rows[0]!;
  if (!is_ours) throw new FlowgresError('NOTHING_TO_HAND_OVER', 'Schema cron is not that of Flowgres; pg_cron may be in charge already.');
  if (!is_available || home === null) {
    throw new FlowgresError('PG_CRON_MISSING', `pg_cron is not ${is_available ? 'loaded' : 'installed'}.`, {
      hint: `Install its package, set shared_preload_libraries = 'pg_cron' and cron.database_name = '${here}', and restart the server.`,
    });
  }
  if (home !== here) {
    throw new FlowgresError('PG_CRON_ELSEWHERE', `pg_cron belongs to database ${home}.`, {
      hint: `Set cron.database_name = '${here}' and restart the server, or stay with the scheduler of Flowgres.`,
    });
  }
}
