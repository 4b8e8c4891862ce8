/** The part of psql that the pages need, for machines without psql: `psql URL -Atc "select …" -c "…"`. */
import { connect } from '../../src/database/connections.ts';

const [url, ...rest] = process.argv.slice(2);
const client = await connect(url!);
try {
  for (const [place, argument] of rest.entries()) {
    if (!/^-\w*c$/.test(argument)) continue;
    const { rows } = await client.query({ text: rest[place + 1]!, rowMode: 'array' });
    for (const row of rows) console.log(row.join('|'));
  }
} finally {
  await client.end();
}
