-- kind: code
-- Limits of credentials: as limits.sql. Writes and locks nothing.

create or replace function engine.token_lease_time()
  returns interval language sql immutable parallel safe return interval '30 seconds';
comment on function engine.token_lease_time() is
  'Limit, time, a worker: for which it alone may renew the tokens of a credential; its request to the provider may take 20 seconds.';

create or replace function engine.authorization_time()
  returns interval language sql immutable parallel safe return interval '10 minutes';
comment on function engine.authorization_time() is
  'Limit, time, whoever logs in at an OAuth2 provider: from authorizeCredential until the provider sends the browser back.';

create or replace function engine.credential_warning_time()
  returns interval language sql immutable parallel safe return interval '7 days';
comment on function engine.credential_warning_time() is
  'Limit, time, whoever creates a credential: before its end, at which its creator gets a mail.';
