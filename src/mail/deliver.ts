/** Delivers the outbox by SMTP, at least once: a mail is sent again when recording that it was sent failed. */
import { createTransport } from 'nodemailer';
import { z } from 'zod';
import { createPool } from '../database/connections.ts';
import { onlyOriginal } from '../database/installation.ts';
import { watchPool } from '../metrics.ts';
import { every } from '../scheduler/every.ts';

/** The SMTP server and sender. */
export interface MailOptions {
  /** `smtp://user:password@host:587`, or `smtps://…:465`. */
  smtpUrl: string;
  /** The sender, such as `Acme <flowgres@acme.example>`. */
  from: string;
}

/** Options of {@link startMail}. */
export interface MailRunnerOptions extends MailOptions {
  /** Connection string of flowgres_worker. */
  connectionString: string;
  /** Interval of checking the outbox, in milliseconds. */
  everyMs?: number;
  onProblem: (message: string, error: unknown) => void;
}

const claimedMail = z.object({ id: z.string(), recipient: z.string(), subject: z.string(), body: z.string() });
const TIMEOUT_MS = 10_000;
const BATCH = 20;

/** Starts delivering. `stop` waits for mails that are being sent. */
export function startMail({ connectionString, smtpUrl, from, everyMs = 2_000, onProblem }: MailRunnerOptions): { stop(): Promise<void> } {
  const pool = onlyOriginal(createPool(connectionString, { name: 'flowgres mail', max: 1, settings: { statement_timeout: '10s' } }));
  watchPool('mail', pool);
  const transport = createTransport({
    url: smtpUrl,
    pool: true,
    maxConnections: 2,
    connectionTimeout: TIMEOUT_MS,
    greetingTimeout: TIMEOUT_MS,
    socketTimeout: TIMEOUT_MS,
  });

  const deliver = async ({ id, recipient, subject, body }: z.infer<typeof claimedMail>): Promise<void> => {
    const problem = await transport
      // As an object: nodemailer would parse a string, which might hold several addresses.
      .sendMail({ from, to: { name: '', address: recipient }, subject, text: body, messageId: `<${id}@flowgres>` })
      .then(() => null)
      .catch((error: Error) => error);
    if (problem) onProblem('A mail was not sent.', problem);
    await pool.query('select engine.finish_mail($1, $2)', [id, problem?.message ?? null]);
  };

  let delivering: Promise<void> = Promise.resolve();
  const timer = every(everyMs, () => {
    delivering = (async () => {
      const { rows } = await pool.query('select id, recipient, subject, body from engine.claim_mails($1)', [BATCH]);
      await Promise.all(z.array(claimedMail).parse(rows).map(deliver));
    })().catch((error: unknown) => onProblem('Mails were not sent.', error));
    return delivering;
  });
  return {
    async stop() {
      timer.stop();
      await delivering;
      transport.close();
      await pool.end();
    },
  };
}
