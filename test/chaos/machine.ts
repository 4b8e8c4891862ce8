/** A disk that can be filled and a clock that can be moved: what the soak needs of the machine, where it has them. */
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type pg from 'pg';
import { clockDistance, clockEnvironment, compileClock } from '../helpers/fake_clock.ts';

const run = promisify(execFile);
const DISK_SIZE = '3g';
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
    this.environment = clockEnvironment(library, file);
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

  /** In one write of one number: processes have it mapped, and would take half of one for a jump of its own. */
  async #setAhead(milliseconds: number): Promise<void> {
    this.#aheadMs = Math.round(milliseconds);
    const nanoseconds = clockDistance(this.#aheadMs);
    const file = await open(this.#file, constants.O_WRONLY | constants.O_CREAT, 0o644);
    await file.write(nanoseconds, 0, nanoseconds.length, 0);
    await file.close();
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

  /**
   * Whether the server goes by the clock that it was given, and its timeouts fire. If not, it must be started again
   * without.
   */
  async isFit(admin: pg.Pool): Promise<boolean> {
    if (!this.clock) return true;
    await this.clock.move(1);
    const { rows } = await admin.query<{ now: Date }>('select clock_timestamp() as now');
    const isFollowed = Math.abs(rows[0]!.now.getTime() - this.clock.now()) < HOUR_MS / 2;
    const isPunctual = await admin.query(`set local statement_timeout = '500ms'; select pg_sleep(3)`).then(
      () => false,
      () => true,
    );
    if (isFollowed && isPunctual) return true;
    this.clock = undefined;
    this.missing.push(`F12 and F17 (${isFollowed ? "PostgreSQL's timeouts do not fire" : 'the clock does not move'})`);
    return false;
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
    let library: string;
    try {
      library = await compileClock(folder);
    } catch {
      this.missing.push('F12 and F17 (no C compiler for Linux)');
      return undefined;
    }
    const clock = new Clock(library, join(folder, 'clock'));
    await clock.move(0);
    return clock;
  }
}
