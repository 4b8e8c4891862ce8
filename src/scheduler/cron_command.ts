/**
 * Executes one command of a job: sent as pg_cron sends it, as one simple query, with results in pg_cron's
 * wording.
 */
import pg from 'pg';
import { libpqMessage } from './libpq_message.ts';

/** The outcome of a command. */
export interface Outcome {
  status: 'succeeded' | 'failed';
  /** `INSERT 0 1`, `3 rows`, or the error in libpq's wording. */
  message: string;
}

const COPY_REFUSED = 'COPY not supported';

/** Runs a command and discards its rows. Never rejects: a lost connection is an outcome, too. */
export function runCommand(client: pg.Client, command: string): Promise<Outcome> {
  return new Promise((resolve) => {
    client.query(new Command(command, resolve));
  });
}

/** Receives node-postgres' events for a query. The text may hold several statements; the last command tag counts. */
class Command implements pg.Submittable {
  readonly #text: string;
  readonly #resolve: (outcome: Outcome) => void;
  #message = '';
  #rows: number | undefined;
  #copies = false;

  constructor(text: string, resolve: (outcome: Outcome) => void) {
    this.#text = text;
    this.#resolve = resolve;
  }

  submit(connection: pg.Connection): void {
    connection.query(this.#text);
  }

  handleRowDescription(): void {
    this.#rows = 0;
  }

  handleDataRow(): void {
    this.#rows = (this.#rows ?? 0) + 1;
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.#message = this.#rows === undefined ? text : this.#rows === 1 ? '1 row' : `${this.#rows} rows`;
    this.#rows = undefined;
  }

  handleEmptyQuery(): void {
    this.#message = '';
  }

  handleCopyInResponse(connection: { sendCopyFail(message: string): void }): void {
    this.#copies = true;
    connection.sendCopyFail(COPY_REFUSED);
  }

  handleCopyData(): void {
    this.#copies = true;
  }

  handleError(error: Error): void {
    const known = error instanceof pg.DatabaseError ? libpqMessage(error, this.#text) : 'connection lost';
    this.#resolve({ status: 'failed', message: this.#copies ? COPY_REFUSED : known });
  }

  handleReadyForQuery(): void {
    this.#resolve(this.#copies ? { status: 'failed', message: COPY_REFUSED } : { status: 'succeeded', message: this.#message });
  }
}
