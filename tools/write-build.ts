/** After `npm run build`: writes beside the compiled program which schema it was compiled with. */
import { writeFileSync } from 'node:fs';
import { BUILD_FOLDER, readSources } from '../src/database/sources.ts';

const { digest, committedAt } = readSources();
writeFileSync(`${BUILD_FOLDER}/dist/build.json`, `${JSON.stringify({ digest, committedAt })}\n`);
