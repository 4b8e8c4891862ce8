-- kind: state
-- The index by which a filter finds rows of a data table. Locks nothing.

create index data_rows_document_idx on public.data_rows
  using gin (private.data_document(table_id, data) jsonb_path_ops);
