-- kind: code
-- The limits of the schema, each in one place: a function without arguments, which the planner replaces by its value.
-- Its comment begins with `Limit, UNIT, CALLER:`; `npm run docs` makes the table in docs/reference/limits.md of them.
-- src/constants.ts has the limits of the processes. Writes and locks nothing.
-- long because each limit has one place

create or replace function engine.max_value_bytes()
  returns int language sql immutable parallel safe return 1048576;
comment on function engine.max_value_bytes() is
  'Limit, bytes, anybody: a JSON value as text: an output of a node, the input of a run, an answer, a signal, a result of an expression, a definition.';

create or replace function engine.max_value_levels()
  returns int language sql immutable parallel safe return 64;
comment on function engine.max_value_levels() is
  'Limit, levels, anybody: arrays and objects inside of each other in a JSON value.';

create or replace function engine.max_small_value_bytes()
  returns int language sql immutable parallel safe return 65536;
comment on function engine.max_small_value_bytes() is
  'Limit, bytes, anybody: a variable, the metadata of a run, the filter of a bulk command; an error keeps its details up to here.';

create or replace function engine.max_filter_items()
  returns int language sql immutable parallel safe return 1000;
comment on function engine.max_filter_items() is
  'Limit, values, anybody: in one list of the filter of runs.';

create or replace function engine.max_counted_runs()
  returns int language sql immutable parallel safe return 100000;
comment on function engine.max_counted_runs() is
  'Limit, runs, anybody: counted by one call of workflow_run_count; beyond it the count is not exact.';

create or replace function engine.max_run_groups()
  returns int language sql immutable parallel safe return 1000;
comment on function engine.max_run_groups() is
  'Limit, rows, anybody: of one answer of workflow_run_stats.';

create or replace function engine.max_text_length()
  returns int language sql immutable parallel safe return 10000;
comment on function engine.max_text_length() is
  'Limit, characters, anybody: the message of an error, the comment on an approval: what is longer is cut.';

create or replace function engine.max_key_length()
  returns int language sql immutable parallel safe return 256;
comment on function engine.max_key_length() is
  'Limit, characters, whoever starts a run: an idempotency key.';

create or replace function engine.max_nodes()
  returns int language sql immutable parallel safe return 500;
comment on function engine.max_nodes() is
  'Limit, nodes, whoever publishes a workflow: in one definition.';

create or replace function engine.max_connections()
  returns int language sql immutable parallel safe return 2000;
comment on function engine.max_connections() is
  'Limit, connections, whoever publishes a workflow: in one definition.';

create or replace function engine.max_definition_expressions()
  returns int language sql immutable parallel safe return 5000;
comment on function engine.max_definition_expressions() is
  'Limit, expressions, whoever publishes a workflow: in one definition.';

create or replace function engine.max_input_schemas()
  returns int language sql immutable parallel safe return 200;
comment on function engine.max_input_schemas() is
  'Limit, schemas, whoever publishes a workflow: inside of each other and beside each other in the schema of an input.';

create or replace function engine.max_input_schema_length()
  returns int language sql immutable parallel safe return 16384;
comment on function engine.max_input_schema_length() is
  'Limit, characters, whoever publishes a workflow: the schema of an input as text.';

create or replace function engine.max_input_checks()
  returns int language sql immutable parallel safe return 20000;
comment on function engine.max_input_checks() is
  'Limit, comparisons, whoever starts a run: values of one input compared with a schema, once for each form of an anyOf.';

create or replace function engine.max_expression_input()
  returns int language sql immutable parallel safe return 262144;
comment on function engine.max_expression_input() is
  'Limit, bytes, whoever publishes a workflow: what one expression reads.';

create or replace function engine.max_regex_input()
  returns int language sql immutable parallel safe return 65536;
comment on function engine.max_regex_input() is
  'Limit, bytes, whoever publishes a workflow: what one expression with like_regex reads.';

create or replace function engine.max_results_bytes()
  returns int language sql immutable parallel safe return 8388608;
comment on function engine.max_results_bytes() is
  'Limit, bytes, whoever publishes a workflow: the properties of a node after its expressions were evaluated.';

create or replace function engine.inline_work()
  returns int language sql immutable parallel safe return 8388608;
comment on function engine.inline_work() is
  'Limit, bytes, whoever publishes a workflow: what the expressions of a node may walk in a transaction of the engine, some 0.1 seconds; beyond, a local step evaluates them.';

create or replace function engine.inline_quadratic_input()
  returns int language sql immutable parallel safe return 8192;
comment on function engine.inline_quadratic_input() is
  'Limit, bytes, whoever publishes a workflow: what a quadratic expression reads in a transaction of the engine, some 0.05 seconds; beyond, a local step evaluates it.';

create or replace function engine.inline_inputs_bytes()
  returns int language sql immutable parallel safe return 2097152;
comment on function engine.inline_inputs_bytes() is
  'Limit, bytes, whoever publishes a workflow: the values at all inputs of a node that a transaction of the engine passes on; beyond, a local step does.';

create or replace function engine.max_inputs_bytes()
  returns bigint language sql immutable parallel safe return 16777216;
comment on function engine.max_inputs_bytes() is
  'Limit, bytes, whoever publishes a workflow: the values at all inputs of a node.';

create or replace function engine.max_pairs()
  returns bigint language sql immutable parallel safe return 10000000;
comment on function engine.max_pairs() is
  'Limit, pairs, whoever publishes a workflow: of items that merge by fields compares.';

create or replace function engine.max_pair_bytes()
  returns bigint language sql immutable parallel safe return 4194304;
comment on function engine.max_pair_bytes() is
  'Limit, bytes, whoever publishes a workflow: the pairs that merge by fields puts out.';

create or replace function engine.max_repeated_bytes()
  returns int language sql immutable parallel safe return 512;
comment on function engine.max_repeated_bytes() is
  'Limit, bytes, whoever publishes a workflow: an output that an event repeats; beyond, the event refers to the one that holds it.';

create or replace function engine.max_run_bytes()
  returns bigint language sql immutable parallel safe return 67108864;
comment on function engine.max_run_bytes() is
  'Limit, bytes, whoever starts a run: outputs, inputs, signals and errors in the log of a run, uncompressed; then it ends with RUN_TOO_LARGE.';

create or replace function engine.max_run_events()
  returns int language sql immutable parallel safe return 10000;
comment on function engine.max_run_events() is
  'Limit, events, whoever starts a run: in the log of a run; it ends with TOO_MANY_EVENTS when fewer than engine.max_nodes() are left.';

create or replace function engine.start_key_time()
  returns interval language sql immutable parallel safe return interval '7 days';
comment on function engine.start_key_time() is
  'Limit, time, whoever starts a run: for which an idempotency key gives the run that it started; how late a missed tick may still start its run.';

create or replace function engine.max_log_lines()
  returns int language sql immutable parallel safe return 10000;
comment on function engine.max_log_lines() is
  'Limit, lines, whoever publishes a workflow: of the nodes of a run.';

create or replace function engine.max_log_bytes()
  returns bigint language sql immutable parallel safe return 4194304;
comment on function engine.max_log_bytes() is
  'Limit, bytes, whoever publishes a workflow: messages and contexts of the lines of a run.';

create or replace function engine.max_log_context_bytes()
  returns int language sql immutable parallel safe return 65536;
comment on function engine.max_log_context_bytes() is
  'Limit, bytes, whoever publishes a workflow: the context of one line.';

create or replace function engine.max_log_message_length()
  returns int language sql immutable parallel safe return 65536;
comment on function engine.max_log_message_length() is
  'Limit, characters, whoever publishes a workflow: the message of one line: what is longer is cut.';

create or replace function engine.max_tree_runs()
  returns int language sql immutable parallel safe return 10000;
comment on function engine.max_tree_runs() is
  'Limit, runs, whoever publishes a workflow: that one run starts in 7 days, directly or through its children.';

create or replace function engine.max_nested_starts()
  returns int language sql immutable parallel safe return 3000;
comment on function engine.max_nested_starts() is
  'Limit, runs, an organization: nested runs that are started in a minute.';

create or replace function engine.max_child_bytes()
  returns bigint language sql immutable parallel safe return 67108864;
comment on function engine.max_child_bytes() is
  'Limit, bytes, whoever publishes a workflow: the inputs of the children of one run, uncompressed.';

create or replace function engine.child_inputs_at_once()
  returns int language sql immutable parallel safe return 8388608;
comment on function engine.child_inputs_at_once() is
  'Limit, bytes, whoever publishes a workflow: the inputs of children that one transaction makes; the others are made after it.';

create or replace function engine.max_schedules()
  returns int language sql immutable parallel safe return 1000;
comment on function engine.max_schedules() is
  'Limit, schedules, an organization: of its published workflows.';

create or replace function engine.test_slots()
  returns int language sql immutable parallel safe return 2;
comment on function engine.test_slots() is
  'Limit, tests, an organization: of workflows at a time, in all processes together.';

create or replace function engine.max_application_wait()
  returns interval language sql immutable parallel safe return interval '5 minutes';
comment on function engine.max_application_wait() is
  'Limit, time, a role of an application: that flowgres_wait waits.';

create or replace function engine.max_watched_rows()
  returns int language sql immutable parallel safe return 1000;
comment on function engine.max_watched_rows() is
  'Limit, rows, a table of an application: in the input of one run that a change starts.';

create or replace function engine.max_watch_runs()
  returns int language sql immutable parallel safe return 100;
comment on function engine.max_watch_runs() is
  'Limit, runs, a table of an application: that one statement starts; a statement that would start more fails with TOO_LARGE.';

create or replace function engine.max_table_depth()
  returns int language sql immutable parallel safe return 10;
comment on function engine.max_table_depth() is
  'Limit, runs, a table of an application: that start each other by changing watched tables; then a change starts none.';

create or replace function engine.lease_time()
  returns interval language sql immutable parallel safe return interval '15 seconds';
comment on function engine.lease_time() is
  'Limit, time, a worker: that an attempt may go on without a heartbeat; then the next pass of the reconciler gives its step to another worker.';

create or replace function engine.silence_time()
  returns interval language sql immutable parallel safe return interval '15 seconds';
comment on function engine.silence_time() is
  'Limit, time, a process: since its last sign of life, after which it counts as gone.';

create or replace function engine.absence_time()
  returns interval language sql immutable parallel safe return interval '1 second';
comment on function engine.absence_time() is
  'Limit, time, a worker: without its session and without a heartbeat, after which its steps are done by another one.';

create or replace function engine.max_crashes()
  returns int language sql immutable parallel safe return 5;
comment on function engine.max_crashes() is
  'Limit, crashes, a node: of workers while they held a step; then the step fails with POISON.';

create or replace function monitor.expired_backlog_rows()
  returns int language sql immutable parallel safe return 10000;
comment on function monitor.expired_backlog_rows() is
  'Limit, rows, the doctor: rows of one table that expired more than two hours ago, which it reports as a backlog. Example: select monitor.expired_backlog_rows();';

create or replace function partitions.recut_limit()
  returns int language sql immutable parallel safe return 31;
comment on function partitions.recut_limit() is
  'Limit, partitions, a DBA: that a change of granularity makes at once, while writers wait, unless premake wants more.';

create or replace function private.purge_grace()
  returns interval language sql immutable parallel safe return interval '30 days';
comment on function private.purge_grace() is
  'Limit, time, an owner: for which a deleted organization can be restored.';

create or replace function engine.max_listed_deliveries()
  returns int language sql immutable parallel safe return 1000;
comment on function engine.max_listed_deliveries() is
  'Limit, deliveries, an organization: requests to webhooks that are listed an hour.';

create or replace function engine.max_refused_deliveries()
  returns int language sql immutable parallel safe return 200;
comment on function engine.max_refused_deliveries() is
  'Limit, deliveries, an organization: of these, requests that started no run.';

create or replace function engine.max_webhook_endpoints()
  returns int language sql immutable parallel safe return 20;
comment on function engine.max_webhook_endpoints() is
  'Limit, endpoints, an organization: that are told what happens in it.';

create or replace function engine.endpoint_failing_time()
  returns interval language sql immutable parallel safe return interval '5 days';
comment on function engine.endpoint_failing_time() is
  'Limit, time, an organization: for which an endpoint accepts no message until it is disabled.';

-- Returns a size as a message says it: 1 MiB, 64 KiB.
create or replace function private.size_text(p_bytes bigint)
  returns text
  language sql
  immutable
  parallel safe
as $$
  select case when p_bytes % 1048576 = 0 then p_bytes / 1048576 || ' MiB' else p_bytes / 1024 || ' KiB' end
$$;
