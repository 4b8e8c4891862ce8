/**
 * Keeps compiled code between starts, which halves the time to load the modules of a command. The folder is one that
 * only this user may write to, since what lies there is executed. NODE_COMPILE_CACHE names another one.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';

const { XDG_CACHE_HOME, HOME } = process.env;
const caches = XDG_CACHE_HOME || (HOME && join(HOME, '.cache'));

// Where nothing can be written, as in a read-only container, this has no effect.
if (caches) enableCompileCache(join(caches, 'flowgres'));
