/** Observers of a stream: they hash bytes, count rows and check rows without keeping them. */
import { createHash } from 'node:crypto';

const QUOTE = 0x22;
const COMMA = 0x2c;
const NEWLINE = 0x0a;

/** Receives a stream chunk by chunk. */
export interface Watcher {
  see(chunk: Buffer): void;
  /** Called at the end of the stream. Throws when the stream is incomplete. */
  end(): void;
}

/** A pipeline step that passes the stream on unchanged and shows it to a watcher. */
export function watch(watcher: Watcher) {
  return async function* (source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of source) {
      watcher.see(chunk);
      yield chunk;
    }
    watcher.end();
  };
}

/** The end of a pipeline: shows the stream to a watcher and discards it. */
export function inspect(watcher: Watcher) {
  return async (source: AsyncIterable<Buffer>): Promise<void> => {
    for await (const chunk of source) watcher.see(chunk);
    watcher.end();
  };
}

/** Counts bytes and computes their SHA-256. */
export class Facts implements Watcher {
  bytes = 0;
  sha256 = '';
  readonly #hash = createHash('sha256');

  see(chunk: Buffer): void {
    this.#hash.update(chunk);
    this.bytes += chunk.length;
  }

  end(): void {
    this.sha256 = this.#hash.digest('hex');
  }
}

/** A watcher that counts rows. */
export interface RowCounter extends Watcher {
  rows: number;
}

/**
 * Reads CSV as PostgreSQL writes it: a heading, quotes doubled within quotes. Throws when a row has another
 * number of fields than the heading.
 */
export class CsvReader implements RowCounter {
  /** Starts at -1: the heading does not count. */
  rows = -1;
  #fields = 1;
  #expected = 0;
  #isQuoted = false;
  #isRowOpen = false;

  see(chunk: Buffer): void {
    for (const byte of chunk) {
      if (byte === NEWLINE && !this.#isQuoted) this.#endRow();
      else {
        if (byte === QUOTE) this.#isQuoted = !this.#isQuoted;
        else if (byte === COMMA && !this.#isQuoted) this.#fields += 1;
        this.#isRowOpen = true;
      }
    }
  }

  end(): void {
    if (this.#isRowOpen || this.#isQuoted) throw new Error('it ends within a row');
  }

  #endRow(): void {
    this.#expected ||= this.#fields;
    if (this.#fields !== this.#expected) throw new Error(`row ${this.rows + 1} has ${this.#fields} fields instead of ${this.#expected}`);
    this.rows += 1;
    this.#fields = 1;
    this.#isRowOpen = false;
  }
}

/** Reads one JSON object per line. Throws for a key other than the given ones. */
export class JsonReader implements RowCounter {
  rows = 0;
  readonly #keys: Set<string>;
  #open: Buffer[] = [];

  constructor(keys: string[]) {
    this.#keys = new Set(keys);
  }

  see(chunk: Buffer): void {
    let from = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
      this.#open.push(chunk.subarray(from, end));
      this.#endRow(Buffer.concat(this.#open).toString());
      this.#open = [];
      from = end + 1;
    }
    if (from < chunk.length) this.#open.push(chunk.subarray(from));
  }

  end(): void {
    if (this.#open.length > 0) throw new Error('it ends within a row');
  }

  #endRow(line: string): void {
    this.rows += 1;
    const row = parseLine(line, this.rows);
    const stranger = Object.keys(row).find((key) => !this.#keys.has(key));
    if (stranger !== undefined) throw new Error(`row ${this.rows} has an unknown key ${JSON.stringify(stranger)}`);
  }
}

function parseLine(line: string, row: number): object {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Error(`row ${row} is no JSON`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw new Error(`row ${row} is no object`);
}
