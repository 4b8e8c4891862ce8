/**
 * Executes one call of one engine: node child.ts <engine> <call> <arguments as JSON>. Sends the answer to the
 * parent process.
 */
import type { Engine, Setup, Work } from './engine.ts';

const [name = '', call = '', text = '[]'] = process.argv.slice(2);

const ENGINES: Record<string, () => Promise<Engine>> = {
  Flowgres: async () => (await import('./flowgres.ts')).flowgres,
  'DBOS, queue': async () => (await import('./dbos.ts')).dbosQueue,
  'DBOS, direct': async () => (await import('./dbos.ts')).dbosDirect,
  Absurd: async () => (await import('./absurd.ts')).absurd,
  'graphile-worker': async () => (await import('./graphile_worker.ts')).graphileWorker,
};

const engine = await ENGINES[name]!();
const [setup, work, count] = JSON.parse(text) as [Setup, Work, number];
const calls: Record<string, () => Promise<unknown>> = {
  install: async () => {
    await engine.install(setup);
    return engine.unfinished;
  },
  fill: () => engine.fill(setup, work, count),
  drain: () => engine.drain(setup, work, count),
  latency: () => engine.latency(setup, work, count),
};
try {
  const value = await calls[call]!();
  process.send?.({ value }, () => process.exit(0));
} catch (error) {
  process.send?.({ error: error instanceof Error ? error.message : String(error) }, () => process.exit(1));
}
