/** Drops and creates a database on a development server and loads `sql/`: node tools/dev-database.ts NAME [last layer] */
import { buildDatabase } from './build-database.ts';

const [name, lastLayer] = process.argv.slice(2);
if (!name) throw new Error('usage: node tools/dev-database.ts NAME [last layer]');
const server = process.env['DEV_SERVER'] ?? 'postgres://postgres:dev@127.0.0.1:5500';
console.log(await buildDatabase(server, name, lastLayer ? { lastLayer } : {}));
