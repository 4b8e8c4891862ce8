/**
 * Builds the console, and writes a record beside the compiled program of the schema that it was compiled with.
 * Runs after `npm run build`.
 */
import { writeFileSync } from 'node:fs';
import { buildConsole } from '../src/cli/console.ts';
import { BUILD_FOLDER, readSources } from '../src/database/sources.ts';

const { digest, committedAt } = readSources();
writeFileSync(`${BUILD_FOLDER}/dist/build.json`, `${JSON.stringify({ digest, committedAt })}\n`);
await buildConsole();
