--! Previous: -
--! Hash: sha1:768a59a10fa785afb4ded13db0adce619a3b007c
--! Message: baseline

-- The baseline is sql/ itself: `flowgres migrate` builds it in an empty database and records this file as applied. A
-- database in which this file runs was not made that way.
do $$
begin
  if to_regnamespace('engine') is null then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'The database is empty: the migrations change a schema that is there.',
      hint = 'Run `flowgres migrate`, which builds it from sql/.';
  end if;
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = 'The database is neither empty nor of a release of Flowgres: it has no record of what it was built from.',
    hint = 'Name another database in DATABASE_URL.';
end
$$;
