-- kind: state
-- The tables of pg_cron, column for column, and the state of the scheduler: cron.job_state and
-- cron.runner. docs/reference/tables.md says who writes each of them.

create schema cron;
comment on schema cron is 'A scheduler with pg_cron''s interface. Not created where the extension pg_cron is installed.';

create sequence cron.jobid_seq;
create sequence cron.runid_seq;

create table cron.job (
  jobid bigint not null default nextval('cron.jobid_seq'),
  schedule text not null,
  command text not null,
  nodename text not null default 'localhost',
  nodeport int not null default inet_server_port(),
  database text not null default current_database(),
  username text not null default current_user,
  active boolean not null default true,
  jobname text,
  constraint job_pkey primary key (jobid),
  constraint jobname_username_uniq unique (jobname, username)
);
alter table cron.job enable row level security;
comment on table cron.job is 'The jobs. Changed by cron.schedule, cron.schedule_in_database, cron.alter_job and cron.unschedule.';

create table cron.job_run_details (
  jobid bigint,
  runid bigint not null default nextval('cron.runid_seq'),
  job_pid int,
  database text,
  username text,
  command text,
  status text,
  return_message text,
  start_time timestamptz,
  end_time timestamptz,
  constraint job_run_details_pkey primary key (runid)
);
alter table cron.job_run_details enable row level security;
comment on table cron.job_run_details is
  'The runs of jobs with their status: starting, running, succeeded or failed. The newest 100,000 are kept, or cron.history_rows.';

-- No foreign key: it would refuse `truncate cron.job`, which pg_cron allows.
create table cron.job_state (
  jobid bigint not null,
  schedule text not null,
  spec engine.cron_spec,
  timezone text not null,
  next_run_at timestamptz,
  queued int not null default 0,
  queued_at timestamptz,
  runid bigint,
  constraint job_state_pkey primary key (jobid),
  constraint job_state_queued_check check (queued >= 0 and (queued = 0 or queued_at is not null))
);
create index job_state_next_run_at_idx on cron.job_state (next_run_at);
create index job_state_queued_at_idx on cron.job_state (queued_at) where queued > 0;
create index job_state_runid_idx on cron.job_state (runid) where runid is not null;
alter table cron.job_state enable row level security;
comment on table cron.job_state is
  'The state of each active job: when it is due next, how many of its runs wait, and the run that is under way.';

create table cron.runner (
  only_row boolean not null default true,
  server_started_at timestamptz not null,
  constraint runner_pkey primary key (only_row),
  constraint runner_only_row_check check (only_row)
);
alter table cron.runner enable row level security;
comment on table cron.runner is 'The start of the server for which @reboot jobs were queued.';

create type cron.task as (
  action text, -- run or cancel
  runid bigint,
  command text,
  database text,
  username text
);
