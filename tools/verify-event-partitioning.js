/**
 * Checks that the event log is partitioned and works: node tools/verify-event-partitioning.js
 *
 * The same as `flowgres verify partitions` on any Node: checks the database of DATABASE_URL, else that of the
 * `flowgres start` in FLOWGRES_DATA (.flowgres), as administrator. Rolls back everything that it writes. Exits
 * with 1 if a check fails.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const path = (file) => fileURLToPath(new URL(`../${file}`, import.meta.url));
const { status, error } = spawnSync(path('node_modules/.bin/node'), [path('src/main.ts'), 'verify', 'partitions'], { stdio: 'inherit' });
if (error) console.error(`Event partitioning is not verified: ${error.message}. Run npm install first.`);
process.exitCode = status ?? 1;
