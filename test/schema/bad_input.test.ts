/**
 * Where bad input is tested: each row of the catalogue of what people send (numbers as in the design), of the SQL API,
 * GraphQL, tenancy, sign-in and schedules. A test that goes, or is renamed, is missed here.
 */
import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';

const ROWS: [rows: string, what: string, file: string, title: string][] = [
  ['53', 'null for a required argument', 'api/fuzz', 'no arguments of a function in SQL'],
  ['54', 'another organization', 'api/access', 'nobody reaches into another organization'],
  ['55', 'impossible times', 'api/fuzz', 'no arguments of a function in SQL'],
  ['56', 'impossible ages', 'sql/10_partitions/retire/retire', 'an age of %s is refused'],
  ['57', 'names in need of quotes', 'sql/10_partitions/create/create', 'names in need of quotes are quoted'],
  ['58', 'a search path of one’s own', 'system/splinter', 'the published security lints find nothing'],
  ['59', 'a stale step', 'sql/50_engine/steps/attempts', 'of an older attempt is stale, even when it is a success'],
  ['60', 'a signal too early or too late', 'sql/50_engine/waits/signals', 'is kept, and taken as soon as the wait is reached'],
  ['61', 'a payload above the limit', 'sql/50_engine/steps/attempts', 'above 1 MiB is a failure that is not retried'],
  ['62', 'idempotency keys', 'sql/50_engine/start/start', 'of a length that no key has is refused'],
  ['63', 'a statement without an end', 'api/limits', 'is stopped after five seconds'],
  ['64', 'a page of a million', 'api/limits', 'has 50 rows unless the query says otherwise, and 200 at most'],
  ['65', 'depth', 'api/catalogue', 'nested deeper than 12'],
  ['66', 'aliases', 'api/catalogue', '500 aliases'],
  ['67', 'cost', 'api/catalogue', 'more than 10,000 objects'],
  ['68, 69', 'batches and large bodies', 'api/catalogue', 'GET, batches, other media types and large bodies'],
  ['70', 'introspection', 'api/catalogue', 'the schema to anonymous requests in production'],
  ['71', 'directives and circles', 'api/catalogue', 'fragments in a circle'],
  ['72', 'ids of others', 'api/isolation', 'no global id opens another organization’s rows'],
  ['73', 'organizationId in an input', 'api/catalogue', 'another organization in an input'],
  ['74', 'columns that are not to be written', 'api/catalogue', 'a computed column written'],
  ['75', 'secret columns', 'api/catalogue', 'a secret column'],
  ['76', 'variables of another type', 'api/catalogue', 'a page of 2147483647'],
  ['77', 'other methods and media types', 'api/requests', 'that is refused before it is executed says why'],
  ['78', 'what errors tell', 'api/errors', 'a failure of the database itself tells nothing but an id'],
  ['79', 'subscriptions', 'api/subscriptions', 'ends the subscription when the token is revoked in the middle'],
  ['80', 'partitions', 'sql/40_runs/policies', 'is reached through its parent only'],
  ['81', 'taken names', 'api/side_channels', 'a taken name of another organization is no conflict'],
  ['82', 'conditions that fail', 'api/side_channels', 'a condition that fails on a value does not see the values of others'],
  ['83', 'sequences', 'api/side_channels', 'no sequence tells how much others do'],
  ['84', 'statistics of the server', 'api/access', 'everything that is exposed is in the reviewed matrix'],
  ['85', 'notifications', 'api/side_channels', 'who listens to the notifications of the database hears ids and nothing else'],
  ['85', 'locks', 'api/side_channels', 'no organization can hold up another one by its locks'],
  ['86', 'times of refusals', 'api/side_channels', 'of another organization takes as long to be refused as one that does not exist'],
  ['87', 'revoked and expired tokens', 'api/auth', 'with a revoked or expired token is answered 401 within five seconds'],
  ['87', 'tokens of identity providers', 'api/jwt', 'refused is a token'],
  ['88', 'a token that was cut', 'api/accounts', 'that was cut or mistyped is refused without a query'],
  ['89, 90', 'a token in the address, two tokens', 'api/accounts', 'in an address, or two of them, is refused'],
  ['91', 'a member who was removed', 'api/accounts', 'of a member who was removed is answered 401 within five seconds'],
  ['92', 'the last owner', 'sql/95_api/organizations/members', 'refuses to unmake the last owner, unknown roles, strangers and nulls'],
  ['93', 'invitations', 'sql/95_api/organizations/invitations', 'is of no use to anybody else, nor with an unverified address'],
  ['94', 'a thousand passwords', 'api/accounts', 'a thousand wrong passwords are ten, and the right one then waits too'],
  ['95', 'strange passwords', 'api/accounts', 'takes any character in a password'],
  ['111, 112', 'schedules that never fire, time zones', 'sql/60_triggers/schedules', 'refuses what publishing refuses'],
  ['111', 'a thousand schedules', 'sql/60_triggers/schedules', 'refuses the 1,001st schedule of an organization'],
  ['112', 'the change of the clocks', 'sql/60_triggers/schedules', 'crosses the change to winter time once a day'],
  ['113 to 115', 'commands of tenants', 'sql/70_cron/jobs', 'a tenant reaches nothing of it'],
];

test.each(ROWS)('%s: %s, in %s', async (_rows, _what, file, title) => {
  expect(await readFile(new URL(`../${file}.test.ts`, import.meta.url), 'utf8')).toContain(title);
});
