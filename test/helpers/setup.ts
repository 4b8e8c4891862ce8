/** Vitest's setup of each test file. */
import { afterAll } from 'vitest';
import { fixTomorrow } from './clock.ts';
import { endFile } from './end_of_file.ts';

fixTomorrow();
afterAll(endFile);
