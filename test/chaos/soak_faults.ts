/** The faults of the soak: a full disk, a clock that jumps, a month without partitions. They say when they got through. */
import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import type { World } from './faults.ts';

const seconds = (count: number) => delay(count * 1_000);
/** So long an installation may take to be well again, whatever else strikes it meanwhile. */
const RECOVERY_SECONDS = 120;
const RUN_TABLES = ['public.workflow_runs', 'public.workflow_events'];

/** Answers of intake while something is missing: none but 503, or 2xx for what was stored all the same. */
class Intake {
  accepted = 0;
  refused = 0;
  lastAccepted = performance.now();
  readonly stop: () => void;

  constructor({ client, broken }: World, fault: string) {
    this.stop = client.watch((status) => {
      if (status === 503) this.refused += 1;
      else if (status < 300) {
        this.accepted += 1;
        this.lastAccepted = performance.now();
      } else broken.push(`${fault}: intake answered ${status}`);
    });
  }

  /** For so many seconds nothing was accepted. */
  isClosedFor(count: number): boolean {
    return this.refused > 0 && performance.now() - this.lastAccepted > count * 1_000;
  }
}

/** Whether it came to hold in time. */
async function until(limit: number, holds: () => boolean | Promise<boolean>): Promise<boolean> {
  for (const end = performance.now() + limit * 1_000; performance.now() < end; await delay(200)) {
    if (await holds()) return true;
  }
  return false;
}

/** Tries again: other faults end connections at any moment. */
async function ask<R extends pg.QueryResultRow>({ server }: World, text: string, values: unknown[] = []): Promise<R[]> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return (await server.db.admin.query<R>(text, values)).rows;
    } catch (error) {
      if (attempt === RECOVERY_SECONDS) throw error;
      await seconds(1);
    }
  }
}

async function requireRecovery(world: World, fault: string): Promise<void> {
  const { client, broken } = world;
  const accepted = client.accepted.size;
  if (!(await until(RECOVERY_SECONDS, () => client.accepted.size > accepted + 10))) broken.push(`${fault}: intake did not come back`);
}

/** F10. What was accepted before the last free page was full must be there at the end, like everything else. */
export async function fillDisk(world: World): Promise<void> {
  const disk = world.machine.disk!;
  const intake = new Intake(world, 'F10');
  let isFull = false;
  try {
    isFull = await until(60, async () => {
      await disk.fill();
      return intake.isClosedFor(5);
    });
  } finally {
    await disk.free();
    intake.stop();
  }
  await requireRecovery(world, 'F10');
  console.log(`  F10: ${intake.refused} refused, ${intake.accepted} accepted until the last page was full`);
  if (!isFull) throw new Error('The disk was not full enough.');
}

/** What the doctor says about the coverage of runs and their events. */
async function coverage(world: World): Promise<string[]> {
  const rows = await ask<{ parent: string; severity: string }>(
    world,
    `select d.parent::text, d.severity from unnest($1::regclass[]) as parent cross join lateral partitions.doctor(parent) as d
     where d."check" in ('forward buffer', 'hole')`,
    [RUN_TABLES],
  );
  return rows.map(({ parent, severity }) => `${parent}: ${severity}`);
}

async function maintain(world: World, fault: string): Promise<void> {
  const isCovered = await until(RECOVERY_SECONDS, async () => {
    await ask(world, 'select * from partitions.maintain()');
    return (await coverage(world)).length === 0;
  });
  if (!isCovered) world.broken.push(`${fault}: partitions are missing after maintenance: ${await coverage(world)}`);
}

/** F12. Over the end of a month; then back by an hour for a while, as after a wrong time server was corrected. */
export async function jumpMonths(world: World): Promise<void> {
  const clock = world.machine.clock!;
  await clock.alone(async () => {
    const month = clock.nextMonth().getTime();
    await world.client.quietly(() => clock.moveTo(month - 3_000));
    await seconds(10);
    const critical = (await coverage(world)).filter((each) => each.endsWith('critical'));
    if (critical.length) world.broken.push(`F12: in the new month ${critical}`);
    await maintain(world, 'F12');
    await requireRecovery(world, 'F12');
    await clock.move(-1);
    await seconds(15);
    await clock.move(1);
    await requireRecovery(world, 'F12');
  });
}

/** F17. Nobody made the partitions of next month, and nobody heard the alarm. */
export async function missPartitions(world: World): Promise<void> {
  const clock = world.machine.clock!;
  await clock.alone(async () => {
    const month = clock.nextMonth();
    await dropMonth(world, month);
    const alarmed = await coverage(world);
    if (alarmed.length < RUN_TABLES.length) world.broken.push(`F17: no alarm before the month began, only ${alarmed}`);
    await world.client.quietly(() => clock.moveTo(month.getTime() - 2_000));
    await until(30, () => clock.now() > month.getTime() + 500);
    const intake = new Intake(world, 'F17');
    await seconds(8);
    intake.stop();
    console.log(`  F17: ${intake.refused} refused, ${intake.accepted} accepted without a partition`);
    await maintain(world, 'F17');
    await requireRecovery(world, 'F17');
    if (intake.refused + intake.accepted === 0) throw new Error('Intake did not answer at all.');
  });
}

/** Events first, as they refer to runs. */
async function dropMonth(world: World, month: Date): Promise<void> {
  for (const parent of RUN_TABLES.toReversed()) {
    const [found] = await ask<{ name: string | null }>(
      world,
      'select partitions.qualified($1::regclass, partitions.find($1::regclass, $2)) as name',
      [parent, month],
    );
    if (!found?.name) continue;
    await ask(world, `set local lock_timeout = '2s'; alter table ${parent} detach partition ${found.name}; drop table ${found.name}`);
  }
}
