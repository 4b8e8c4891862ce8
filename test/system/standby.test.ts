/** A standby is not ready, and is no copy; promoted, as in a failover, it is ready at once. */
import { expect, onTestFinished, test } from 'vitest';
import { connect } from '../../src/database/connections.ts';
import { createHealth } from '../../src/http/health.ts';
import { migrate } from '../../src/database/migrate.ts';
import { roleUrl } from '../../src/database/roles.ts';
import { TEST_PASSWORDS } from '../../tools/build-database.ts';
import { startPostgres15, startStandby15, suite } from './packages.ts';

suite('a standby on PostgreSQL 15', ['postgresql-15'], () => {
  test('is not ready until it is promoted, and then goes on without being adopted', async () => {
    const primary = await startPostgres15();
    await migrate(`${primary}/flowgres`, TEST_PASSWORDS);
    const standby = `${await startStandby15(`${primary}/postgres`)}/flowgres`;
    const as = (role: 'flowgres_monitor' | 'flowgres_api') => roleUrl(standby, TEST_PASSWORDS, role);
    const ways = [{ name: 'graphql', connectionString: as('flowgres_api') }];
    const health = createHealth({ connectionString: as('flowgres_monitor'), ways });
    onTestFinished(() => health.close());
    expect(await health.problems()).toEqual(['pool graphql: the server is a standby, which cannot be written']);
    const admin = await connect(standby);
    await admin.query('select pg_promote()').finally(() => admin.end());
    await expect.poll(() => health.problems()).toEqual([]);
  });
});
