-- A script for pg_cron, run unchanged by pg_cron and by the scheduler of Flowgres: statement by statement, each with its
-- rows or its error (a name is a name in pg_cron 1.4 and a text since). Statements end at a blank line. What comes after the line `-- runs` is then compared as run.

select cron.schedule('0 10 * * *', 'select 1');

select cron.schedule('nightly', '0 3 * * *', 'vacuum');

select cron.schedule('nightly', '30 3 * * *', 'vacuum (analyze)');

select cron.schedule('NULL in', null::text) is null;

select cron.schedule(null, '* * * * *', 'select 1');

select cron.schedule('x', null, 'select 1');

select cron.schedule('x', '* * * * *', null);

select cron.schedule('60 * * * *', 'select 1');

select cron.schedule('', 'select 1');

select cron.schedule('bad', '* * * *', 'select 1');

select cron.schedule('* * * * * and more', 'select 1');

select cron.schedule('@hourly', 'select 1');

select cron.schedule('@never', 'select 1');

select cron.schedule('0 0 * JAN,feb Mon-Fri', 'select 1');

select cron.schedule_in_database('elsewhere', '0 1 * * *', 'select 1', 'postgres');

select cron.schedule_in_database('of alice', '0 1 * * *', 'select 1', 'postgres', 'cron_alice', false);

select cron.schedule_in_database('x', '0 1 * * *', 'select 1', 'no_such_database');

select cron.schedule_in_database('x', '0 1 * * *', 'select 1', 'postgres', 'no_such_role');

select cron.schedule_in_database('x', '0 1 * * *', 'select 1', 'postgres', 'pg_monitor');

select cron.schedule_in_database('x', 'nonsense', 'select 1', 'postgres');

select cron.schedule_in_database(null, '0 1 * * *', 'select 1', 'postgres');

select cron.alter_job(1, schedule => '15 10 * * *');

select cron.alter_job(1, active => false);

select cron.alter_job(1);

select cron.alter_job(null);

select cron.alter_job(4711, active => false);

select cron.alter_job(1, schedule => 'nonsense');

select cron.alter_job(1, database => 'no_such_database');

select cron.alter_job(2, username => 'cron_alice');

select cron.alter_job(2, username => 'postgres');

select jobid, schedule, command, nodename, database, username, active, jobname from cron.job order by jobid;

select cron.unschedule(4711);

select cron.unschedule('no such job');

select cron.unschedule('1');

select cron.unschedule(null::text) is null;

select cron.unschedule(1);

select cron.unschedule('nightly');

grant usage on schema cron to cron_alice;

set role cron_alice;

select cron.schedule('hers', '0 5 * * *', 'select current_user');

select jobid, jobname, username from cron.job order by jobid;

select cron.unschedule(1);

select cron.unschedule('elsewhere');

select cron.schedule_in_database('y', '0 1 * * *', 'select 1', 'postgres');

select cron.alter_job(1, active => false);

insert into cron.job (schedule, command) values ('* * * * *', 'select 1');

update cron.job set command = 'select 2';

delete from cron.job_run_details;

select last_value > 0 from cron.jobid_seq;

select cron.unschedule(jobid) from cron.job where jobname = 'hers';

reset role;

select column_name, replace(data_type, 'name', 'text'), is_nullable, column_default is not null from information_schema.columns where table_schema = 'cron' and table_name in ('job', 'job_run_details') order by table_name, ordinal_position;

select policyname, tablename, cmd, qual from pg_policies where schemaname = 'cron' and tablename in ('job', 'job_run_details') order by 1;

select proname, replace(pg_get_function_identity_arguments(oid), 'job_name name', 'job_name text'), prorettype::regtype, proisstrict, obj_description(oid, 'pg_proc') from pg_proc where pronamespace = 'cron'::regnamespace and proname in ('schedule', 'schedule_in_database', 'unschedule', 'alter_job', 'job_cache_invalidate') order by 1, 2;

select tgname from pg_trigger where tgrelid = 'cron.job'::regclass and not tgisinternal;

truncate cron.job;

create table visits (at timestamptz not null default now(), by text not null default current_user);

grant all on visits to cron_alice;

create procedure visit_twice() language plpgsql as $$ begin insert into visits default values; commit; insert into visits default values; end $$;

-- runs

select cron.schedule('insert', '* * * * *', 'insert into visits default values');

select cron.schedule('rows', '* * * * *', 'select 1 union select 2');

select cron.schedule('row', '* * * * *', 'select 1');

select cron.schedule('none', '* * * * *', 'select 1 where false');

select cron.schedule('ddl', '* * * * *', 'create table made (id int)');

select cron.schedule('vacuum', '* * * * *', 'vacuum visits');

select cron.schedule('commit', '* * * * *', 'call visit_twice()');

select cron.schedule('several', '* * * * *', 'select 1; select 1 union select 2; analyze visits');

select cron.schedule('vacuum after set', '* * * * *', 'set lock_timeout = 0; vacuum visits');

select cron.schedule('commit after set', '* * * * *', 'set lock_timeout = 0; call visit_twice()');

select cron.schedule('no such table', '* * * * *', 'select 1,
  2 from no_such_table where a_rather_long_condition = 1 and another_rather_long_condition = 2 and so_on = 3');

select cron.schedule('division', '* * * * *', 'select 1 / 0');

select cron.schedule('hinted', '* * * * *', 'select lenght(''x'')');

select cron.schedule('inside', '* * * * *', $job$do $$ begin raise exception 'no' using detail = 'because', hint = 'try'; end $$$job$);

select cron.schedule('internal', '* * * * *', $job$do $$ begin perform 1 from nowhere; end $$$job$);

select cron.schedule('a far far far far far far far far far far far far place', '* * * * *', 'select 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, nowhere');

select cron.schedule_in_database('as alice', '* * * * *', 'select current_user', current_database(), 'cron_alice');

select cron.schedule_in_database('her insert', '* * * * *', 'insert into visits default values', current_database(), 'cron_alice');

select cron.schedule_in_database('of bob', '* * * * *', 'select 1', current_database(), 'cron_bob');

alter role cron_bob nologin;

select cron.schedule_in_database('inactive', '* * * * *', 'select 1', current_database(), null, false);
