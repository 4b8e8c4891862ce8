-- kind: code
-- The outbox: mails are written in the transaction that they are about, and a worker delivers them
-- at least once. Writes private.outbox; claim_mails() locks the rows it claims and skips locked
-- ones.

create or replace function private.send_mail(p_recipient text, p_subject text, p_body text)
  returns void
  language sql
  volatile
as $$
  insert into private.outbox (recipient, subject, body, created_at, run_at, sent_at)
  select
    coalesce(p_recipient, ''), p_subject, case when p_recipient is not null then p_body end,
    n, n, case when p_recipient is null then n end
  from engine.now() as n
$$;
comment on function private.send_mail(text, text, text) is
  'Puts a mail into the outbox. Without a recipient the row is written and never sent, so that an answer takes as long either way.';

create or replace function engine.claim_mails(p_limit int default 20)
  returns table (
    id uuid,
    recipient text,
    subject text,
    body text
  )
  language sql
  volatile
  security definer -- definer because the outbox is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with due as materialized (
    select o.id
    from private.outbox as o
    where o.sent_at is null
      and o.run_at <= engine.now()
      and (select engine.copy_problem()) is null
    order by o.run_at
    limit p_limit
    for update skip locked
  )
  update private.outbox as o
  set
    attempts = o.attempts + 1,
    -- If this worker crashes now, another one claims the mail after this time.
    run_at = engine.now() + least(interval '30 seconds' * (2 ^ least(o.attempts, 10)), interval '1 hour')
  from due
  where o.id = due.id
  returning o.id, o.recipient, o.subject, o.body
$$;
comment on function engine.claim_mails(int) is
  'Claims mails that are due, for a worker to deliver: for 30 seconds, after each failure for twice as long, at most an hour; none in a copy that has not been adopted. Example: select recipient, subject from engine.claim_mails();';

create or replace function engine.finish_mail(p_id uuid, p_error text default null)
  returns boolean
  language sql
  volatile
  security definer -- definer because the outbox is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  with finished as (
    update private.outbox as o
    set
      sent_at = case when p_error is null then engine.now() end,
      body = case when p_error is not null then o.body end,
      error = left(p_error, 1000)
    where o.id = p_id and o.sent_at is null
    returning 1
  )
  select exists (select from finished)
$$;
comment on function engine.finish_mail(uuid, text) is
  'Records that a mail was delivered and deletes its text, or why it was not delivered. Returns false for a mail that was sent before. Example: select engine.finish_mail(''0190…'', ''connection refused'');';

create or replace function engine.unsent_mails()
  returns table (
    id uuid,
    recipient text,
    subject text,
    body text,
    created_at timestamptz,
    attempts int,
    error text
  )
  language sql
  stable
  security definer -- definer because the outbox is closed to everybody
  set search_path = pg_catalog, pg_temp
as $$
  select o.id, o.recipient, o.subject, o.body, o.created_at, o.attempts, o.error
  from private.outbox as o
  where o.sent_at is null
  order by o.created_at desc, o.id desc
$$;
comment on function engine.unsent_mails() is
  'For DBAs: lists the mails that are not sent, newest first, with the codes in them. None is sent where FLOWGRES_SMTP_URL is not set. Example: select recipient, body from engine.unsent_mails() limit 1;';

grant execute on function engine.claim_mails(int), engine.finish_mail(uuid, text) to flowgres_worker;
grant execute on function engine.unsent_mails() to flowgres_dba;
