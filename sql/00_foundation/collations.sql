-- kind: state
-- How texts of people change their case, whatever locale the database has: in a Turkish one upper('i') is not 'I'.
-- Identifiers, keywords and e-mail addresses take "C" instead, which knows the letters A to Z only.

do $$
begin
  if exists (select from pg_collation where collname = 'pg_c_utf8') then
    create collation engine.unicode from pg_catalog.pg_c_utf8;
  elsif exists (select from pg_collation where collname = 'und-x-icu') then
    create collation engine.unicode from pg_catalog."und-x-icu";
  else
    -- A server before 17 that was built without ICU.
    create collation engine.unicode from pg_catalog."C";
  end if;
end
$$;
comment on collation engine.unicode is 'Changes the case of letters of all alphabets, in the same way in every database.';
