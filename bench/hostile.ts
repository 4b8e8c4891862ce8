/**
 * Measures what a victim organization notices of attacks by another organization or by anonymous clients,
 * compared with the time before in the same run: `npm run bench -- hostile`; some attacks with `--attacks
 * poison,hanging`, each for `--seconds 5`.
 *
 * The installation is one process that serves and works, and a PostgreSQL server, both with default limits.
 * Attackers and peers are processes on the same machine; attackers have a lower priority, since in reality they
 * have machines of their own.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { ATTACKS, type Attack, PASSWORD_OF_FLOOD, type Target } from './hostile/attacks.ts';
import { type Installation, type Tenant, startInstallation } from './hostile/installation.ts';
import { type Observed, type Victim, createVictim } from './hostile/victim.ts';
import { percentiles } from './measure.ts';
import type { BenchServer } from './server.ts';

/** Limits of what the victim may notice: factor of latency, added milliseconds, megabytes of memory. */
const BAR = { ratio: 5, ms: 250, mb: 700 };
const SETTLE_MS = 30_000;
/** Milliseconds between the beginning of an attack and of the measurement. */
const LEAD_MS = 500;

/** Options of {@link measureHostile}. */
export interface HostileOptions {
  /** Duration of each attack, in seconds. */
  seconds: number;
  /** Names of the attacks to run; all when empty. */
  attacks: string[];
}

interface Measured {
  webhook: number;
  query: number;
}

const HEAD = `| victim's p95, ms | webhook | × idle | query | × idle | latest tick, s | lost | memory, MB | what the attacker got |
|---|---|---|---|---|---|---|---|---|`;

/** Prints a table and sentences below it. Resolves to whether all limits were kept. */
export async function measureHostile(server: BenchServer, { seconds, attacks }: HostileOptions): Promise<boolean> {
  const names = attacks.length ? attacks : Object.keys(ATTACKS);
  const unknown = names.filter((name) => !(name in ATTACKS));
  if (unknown.length) throw new Error(`no such attack: ${unknown.join(', ')}; there are ${Object.keys(ATTACKS).join(', ')}`);
  const installation = await startInstallation(server);
  try {
    const victim = await createVictim(installation);
    await victim.observe(3);
    installation.peakMemory();
    const quiet = await victim.observe(seconds);
    const idle = p95(quiet);
    const failures: string[] = [];
    const complaints: string[] = [];
    const report = (title: string, observed: Observed, outcomes: Record<string, number>) => {
      const [line, problems] = judge(title, observed, idle, installation.peakMemory(), outcomes);
      console.log(line);
      failures.push(...problems);
      complaints.push(...summary(installation.complaints()).map((text) => `${title}: ${text}`));
    };
    console.log(HEAD);
    report('nothing', quiet, {});
    for (const name of names) {
      const attack = ATTACKS[name]!;
      const { observed, outcomes } = await undergo(installation, victim, name, attack, seconds);
      report(attack.title, observed, outcomes);
    }
    report('nothing, again at the end', await victim.observe(seconds), {});
    console.log(
      `\nThe bar: p95 below ${BAR.ratio} times that of the idle system and below ${BAR.ms} ms, nothing lost, memory below ${BAR.mb} MB.`,
    );
    console.log(failures.length ? failures.join('\n') : 'It was held.');
    if (complaints.length) console.log(`\nThe process said:\n${complaints.join('\n')}`);
    return failures.length === 0;
  } finally {
    await installation.stop();
  }
}

/** Joins lines that differ only in ids and numbers. */
function summary(lines: string[]): string[] {
  const times = new Map<string, number>();
  for (const line of lines) {
    const kind = line.replace(/^\S+Z /, '').replaceAll(/"(errorId|path)":\S+?[,}]|[0-9a-f-]{36}|\d+/g, '…');
    times.set(kind, (times.get(kind) ?? 0) + 1);
  }
  return [...times].map(([kind, count]) => `${count} × ${kind.slice(0, 200)}`);
}

function p95(observed: Observed): Measured {
  return { webhook: percentiles(observed.webhook).p95, query: percentiles(observed.query).p95 };
}

function judge(title: string, observed: Observed, idle: Measured, mb: number, outcomes: Record<string, number>): [string, string[]] {
  const now = p95(observed);
  const problems: string[] = [];
  const columns = (['webhook', 'query'] as const).flatMap((what) => {
    const ratio = now[what] / idle[what];
    if (ratio > BAR.ratio || now[what] > BAR.ms) {
      problems.push(`${title}: ${what} ${now[what].toFixed(0)} ms, ${ratio.toFixed(1)} times ${idle[what].toFixed(1)} ms`);
    }
    return [now[what].toFixed(1), ratio.toFixed(1)];
  });
  if (mb > BAR.mb) problems.push(`${title}: ${mb.toFixed(0)} MB`);
  const lost = new Map<string, number>();
  for (const what of observed.lost) lost.set(what, (lost.get(what) ?? 0) + 1);
  for (const [what, times] of lost) problems.push(`${title}: lost ${what}${times > 1 ? `, ${times} times` : ''}`);
  const got = Object.entries(outcomes)
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, 4)
    .map(([outcome, times]) => `${times.toLocaleString('en-US')} × ${outcome}`);
  if (observed.logins.length) got.push(`logins of others: p95 ${percentiles(observed.logins).p95.toFixed(0)} ms`);
  const cells = [title, ...columns, observed.latestTick.toFixed(1), String(observed.lost.length), mb.toFixed(0), got.join(', ')];
  return [`| ${cells.join(' | ')} |`, problems];
}

async function undergo(installation: Installation, victim: Victim, name: string, attack: Attack, seconds: number) {
  const tenant = await installation.createTenant(`Attacker ${name}`, attack.tokens);
  const workflowIds: string[] = [];
  for (const [title, definition] of Object.entries(attack.definitions?.(installation.peer) ?? {})) {
    workflowIds.push(await installation.publish(tenant, title, definition));
  }
  const process = await startAttacker(name, await targetOf(installation, tenant, victim, workflowIds));
  await new Promise((resolve) => setTimeout(resolve, LEAD_MS));
  const observed = await victim.observe(seconds, attack.beside);
  process.send('stop');
  const [outcomes] = (await once(process, 'message')) as [Record<string, number>];
  await installation.quiet(tenant, SETTLE_MS);
  return { observed, outcomes };
}

async function targetOf(installation: Installation, tenant: Tenant, victim: Victim, workflowIds: string[]): Promise<Target> {
  await installation.createAccount(tenant.email, PASSWORD_OF_FLOOD);
  const { webhookKey, tokens, email: account } = tenant;
  return { url: installation.url, webhookKey, tokens, workflowIds, account, victim: victim.people[0]! };
}

async function startAttacker(name: string, target: Target): Promise<ChildProcess> {
  const process = fork(new URL('hostile/attacker.ts', import.meta.url), [name]);
  await once(process, 'message');
  process.send(target);
  return process;
}
