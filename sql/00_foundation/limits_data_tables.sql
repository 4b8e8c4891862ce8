-- kind: code
-- The limits of data tables, as limits.sql has those of the rest. Writes and locks nothing.

create or replace function engine.max_data_tables()
  returns int language sql immutable parallel safe return 100;
comment on function engine.max_data_tables() is
  'Limit, tables, an organization: at a time.';

create or replace function engine.max_data_rows()
  returns int language sql immutable parallel safe return 100000;
comment on function engine.max_data_rows() is
  'Limit, rows, an organization: of a data table.';

create or replace function engine.max_data_row_bytes()
  returns int language sql immutable parallel safe return 65536;
comment on function engine.max_data_row_bytes() is
  'Limit, bytes, an organization: a row of a data table as text.';

create or replace function engine.max_data_batch()
  returns int language sql immutable parallel safe return 1000;
comment on function engine.max_data_batch() is
  'Limit, rows, whoever writes or lists rows of a data table: at a time.';

create or replace function engine.max_data_changes()
  returns int language sql immutable parallel safe return 10000;
comment on function engine.max_data_changes() is
  'Limit, rows, whoever changes or deletes rows of a data table by a filter: at a time.';

create or replace function engine.max_filter_conditions()
  returns int language sql immutable parallel safe return 20;
comment on function engine.max_filter_conditions() is
  'Limit, properties, whoever lists rows of a data table: in a filter.';
