/** A disk that can be filled and a clock that can be moved: what the soak needs of the machine, where it has them. */
import { execFile } from 'node:child_process';
import { mkdtemp, open, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';

const run = promisify(execFile);
const DISK_SIZE = '3g';
const LIBRARY = 'libfaketime.so.1';
const HOUR_MS = 3_600_000;

/** A disk of limited size for the whole data folder. */
export class Disk {
  readonly #mount: string;

  constructor(mount: string) {
    this.#mount = mount;
  }

  get folder(): string {
    return join(this.#mount, 'server');
  }

  /** Takes what room there is; again and again, as the server gives some of its own back. */
  async fill(): Promise<void> {
    const ballast = await open(join(this.#mount, 'ballast'), 'a');
    try {
      for (const size of [4 * 1024 ** 2, 4 * 1024]) {
        const zeros = Buffer.alloc(size);
        while (await ballast.write(zeros).then(({ bytesWritten }) => bytesWritten === size, isNoSpace));
      }
    } finally {
      await ballast.close();
    }
  }

  async free(): Promise<void> {
    await rm(join(this.#mount, 'ballast'), { force: true });
  }
}

function isNoSpace(error: NodeJS.ErrnoException): false {
  if (error.code === 'ENOSPC') return false;
  throw error;
}

/** The clock of the database server alone; the other processes keep theirs. */
export class Clock {
  readonly environment: Record<string, string>;
  readonly #file: string;
  #aheadMs = 0;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(library: string, file: string) {
    this.#file = file;
    this.environment = {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
  }

  now(): number {
    return Date.now() + this.#aheadMs;
  }

  /** The beginning of the next month. */
  nextMonth(): Date {
    const now = new Date(this.now());
    return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1));
  }

  async move(hours: number): Promise<void> {
    await this.#setAhead(this.#aheadMs + hours * HOUR_MS);
  }

  async moveTo(moment: number): Promise<void> {
    await this.#setAhead(moment - Date.now());
  }

  /** Whoever moves the clock does so alone. */
  async alone(work: () => Promise<void>): Promise<void> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined);
    await mine;
  }

  /** In one step: a file that is read half written would be another jump. */
  async #setAhead(milliseconds: number): Promise<void> {
    this.#aheadMs = Math.round(milliseconds / 1_000) * 1_000;
    await writeFile(`${this.#file}.new`, `+${this.#aheadMs / 1_000}\n`, { mode: 0o644 });
    await rename(`${this.#file}.new`, this.#file);
  }
}

export class Machine {
  disk: Disk | undefined;
  clock: Clock | undefined;
  /** What could not be had, and which faults go without. */
  readonly missing: string[] = [];
  #folder: string | undefined;

  now(): number {
    return this.clock?.now() ?? Date.now();
  }

  async prepare(needs: ReadonlySet<'disk' | 'clock' | undefined>): Promise<void> {
    if (!needs.has('disk') && !needs.has('clock')) return;
    this.#folder = await mkdtemp(join(tmpdir(), `flowgres-chaos-${process.pid}-`));
    if (needs.has('disk')) this.disk = await this.#mount(this.#folder);
    if (needs.has('clock')) this.clock = await this.#fake(this.#folder);
  }

  /** Whether the server goes by the clock that it was given. */
  async check(admin: pg.Pool): Promise<void> {
    if (!this.clock) return;
    await this.clock.move(1);
    const { rows } = await admin.query<{ now: Date }>('select clock_timestamp() as now');
    if (Math.abs(rows[0]!.now.getTime() - this.clock.now()) < HOUR_MS / 2) return;
    this.clock = undefined;
    this.missing.push(`F12 and F17 (the server does not load ${LIBRARY})`);
  }

  async release(): Promise<void> {
    if (!this.#folder) return;
    if (this.disk) await run('umount', [this.#folder]);
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #mount(folder: string): Promise<Disk | undefined> {
    try {
      await run('mount', ['-t', 'tmpfs', '-o', `size=${DISK_SIZE},mode=700`, 'flowgres-chaos', folder]);
      return new Disk(folder);
    } catch {
      this.missing.push('F10 (no right to mount a disk)');
      return undefined;
    }
  }

  async #fake(folder: string): Promise<Clock | undefined> {
    const { stdout } = await run('find', ['/usr/lib', '/usr/local/lib', '-name', LIBRARY]).catch(() => ({ stdout: '' }));
    const [library] = stdout.split('\n');
    if (!library) {
      this.missing.push('F12 and F17 (package faketime is not installed)');
      return undefined;
    }
    const clock = new Clock(library, join(folder, 'clock'));
    await clock.move(0);
    return clock;
  }
}
