/** A cron runner as a process of its own, for tests that kill it: node cron_process.ts <connection string> <users as JSON> */
import { startCron } from '../../src/scheduler/cron.ts';

const [connectionString = '', users = '{}'] = process.argv.slice(2);
const cron = startCron({ connectionString, users: JSON.parse(users) as Record<string, string>, onProblem: () => undefined });
setInterval(() => process.send?.(cron.leads), 50);
