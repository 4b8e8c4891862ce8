/** The outbox, delivered to a real SMTP server. */
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';
import { expect, onTestFinished, test } from 'vitest';
import { startMail } from '../../src/mail/deliver.ts';
import { type TestDatabase, createTestDatabase } from '../helpers/database.ts';

interface Received {
  to: string[];
  from: string;
  message: string;
}

async function startServer(options: { port?: number; refuse?: () => boolean } = {}) {
  const received: Received[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    logger: false,
    onAuth: ({ username, password }, _session, done) =>
      username === 'flowgres' && password === 'secret' ? done(null, { user: username }) : done(new Error('no')),
    onRcptTo: (_address, _session, done) => (options.refuse?.() ? done(new Error('450 try later')) : done()),
    onData: (stream, session, done) => {
      const { mailFrom, rcptTo } = session.envelope;
      void text(stream).then((message) => {
        received.push({ from: (mailFrom as { address: string }).address, to: rcptTo.map(({ address }) => address), message });
        done();
      });
    },
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, '127.0.0.1', () => resolve()));
  onTestFinished(() => new Promise((resolve) => server.close(() => resolve())));
  return { received, port: (server.server.address() as AddressInfo).port };
}

function deliver(db: TestDatabase, port: number, login = '') {
  const problems: string[] = [];
  const mail = startMail({
    connectionString: db.url('flowgres_worker'),
    smtpUrl: `smtp://${login}127.0.0.1:${port}`,
    from: 'Acme <flowgres@acme.example>',
    everyMs: 20,
    onProblem: (message) => problems.push(message),
  });
  onTestFinished(() => mail.stop());
  return problems;
}

const send = (db: TestDatabase, recipient: string, body = 'The code is 1234.') =>
  db.admin.query('select private.send_mail($1, $2, $3)', [recipient, 'Grüße', body]);
const unsent = async (db: TestDatabase) => (await db.admin.query('select recipient, attempts, error from engine.unsent_mails()')).rows;

test('mails are delivered once, to one address each, and their text is forgotten', async () => {
  const db = await createTestDatabase();
  const { received, port } = await startServer();
  await send(db, 'ada@example.com');
  // Nodemailer would read a text with a comma as two addresses.
  await send(db, 'evil,ada@example.com');
  deliver(db, port, 'flowgres:secret@');
  await expect.poll(() => received).toHaveLength(2);
  await expect.poll(() => unsent(db)).toEqual([]);
  expect(received.map(({ to }) => to).sort()).toEqual([['"evil,ada"@example.com'], ['ada@example.com']]);
  for (const { from, message } of received) {
    expect(from).toBe('flowgres@acme.example');
    expect(message).toMatch(/From: Acme <flowgres@acme\.example>.*The code is 1234\./s);
  }
  const { rows } = await db.admin.query('select distinct body from private.outbox');
  expect(rows).toEqual([{ body: null }]);
});

test('no name or address becomes a header of its own, nor another recipient', async () => {
  const db = await createTestDatabase();
  const { received, port } = await startServer();
  const subject = 'You are invited to A\r\nBcc: all@example.com\r\n\r\nhello';
  await expect(db.admin.query('select private.send_mail($1, $2, $3)', ['ada@example.com', subject, 'text'])).rejects.toMatchObject({
    constraint: 'outbox_subject_check',
  });
  // What stands there in spite of it.
  await db.admin.query('alter table private.outbox drop constraint outbox_subject_check');
  await db.admin.query('select private.send_mail($1, $2, $3)', ['ada@example.com', subject, 'text\r\n.\r\nRCPT TO:<all@example.com>']);
  await db.admin.query('select private.send_mail($1, $2, $3)', ['bo@example.com\r\nRCPT TO:<all@example.com>', 'x', 'y']);
  const problems = deliver(db, port);
  await expect.poll(() => received.length + problems.length).toBeGreaterThanOrEqual(2);
  for (const { to, message } of received) {
    expect(to).toHaveLength(1);
    expect(to[0]).not.toBe('all@example.com');
    expect(message.split('\r\n\r\n', 1)[0]).not.toMatch(/^Bcc:/im);
  }
});

test('several workers deliver each mail once', async () => {
  const db = await createTestDatabase();
  const { received, port } = await startServer();
  for (let count = 0; count < 30; count += 1) await send(db, `person-${count}@example.com`);
  deliver(db, port);
  deliver(db, port);
  await expect.poll(() => unsent(db)).toEqual([]);
  expect(received.map(({ to }) => to[0]).sort()).toEqual(Array.from({ length: 30 }, (_, count) => `person-${count}@example.com`).sort());
});

test('a mail that is refused is tried again, later each time, and says why', async () => {
  const db = await createTestDatabase();
  let refusing = true;
  const { received, port } = await startServer({ refuse: () => refusing });
  await send(db, 'ada@example.com');
  const problems = deliver(db, port);
  await expect.poll(() => unsent(db)).toMatchObject([{ attempts: 1, error: expect.stringContaining('450') }]);
  expect(problems).toContain('A mail was not sent.');
  refusing = false;
  await db.admin.query(`update private.outbox set run_at = now()`);
  await expect.poll(() => received).toHaveLength(1);
});

test('a server that is away loses nothing', async () => {
  const db = await createTestDatabase();
  await send(db, 'ada@example.com');
  deliver(db, 1);
  await expect.poll(() => unsent(db)).toMatchObject([{ attempts: 1, error: expect.any(String) }]);
});

test('a decoy, or what is on its way, is not taken again', async () => {
  const db = await createTestDatabase();
  await db.admin.query(`select private.send_mail(null, 'x', 'y')`);
  await send(db, 'ada@example.com');
  const { rows } = await db.pool('flowgres_worker').query('select recipient from engine.claim_mails()');
  expect(rows).toEqual([{ recipient: 'ada@example.com' }]);
  expect((await db.pool('flowgres_worker').query('select from engine.claim_mails()')).rowCount).toBe(0);
});
