-- kind: state
-- Puts the logs under management and creates their first partitions, when the schema is built.
-- Seals are retired with the rows that they seal, after a year; requests after 30 days. Writes
-- partitions.managed_tables and partitions.maintenance; nothing else is running yet that its locks
-- could block.

select from partitions.manage('public.audit_log', 'month', premake => 3, retention => '12 months');
select from partitions.manage('private.audit_seals', 'month', premake => 3, retire_with => 'public.audit_log');
select from partitions.manage('public.api_access_log', 'week', premake => 4, behind => 1, retention => '30 days');

do $$
declare
  v_failure text;
begin
  select format('%s: %s', m.partition, m.detail) into v_failure from partitions.maintain() as m where not m.done;
  if found then
    perform private.raise_error('CONFLICT', format('Not all partitions could be made: %s', v_failure));
  end if;
end
$$;
