-- kind: state
-- Defines the collation that changes the case of what people write, alike in every locale: in a
-- Turkish one upper('i') is not 'I'. Identifiers, keywords and e-mail addresses use "C", which
-- changes A to Z only. Writes and locks nothing.

do $$
begin
  if exists (select from pg_collation where collname = 'pg_c_utf8') then
    create collation engine.unicode from pg_catalog.pg_c_utf8;
  elsif exists (select from pg_collation where collname = 'und-x-icu') then
    create collation engine.unicode from pg_catalog."und-x-icu";
  else
    -- Fall back to A to Z: the server is older than 17 and was built without ICU.
    create collation engine.unicode from pg_catalog."C";
  end if;
end
$$;
comment on collation engine.unicode is 'Changes the case of letters of all alphabets, in the same way in every database.';
