/** The process of an attacker: receives its target, attacks until it is told to stop, and reports the outcomes. */
import { setPriority } from 'node:os';
import { ATTACKS, type Target } from './attacks.ts';

// In reality an attacker has a machine of its own; here it uses the CPU time that others leave.
setPriority(10);
const attack = ATTACKS[process.argv[2]!]!;
const stopped = new AbortController();
const outcomes: Record<string, number> = {};

process.on('message', async (message: Target | 'stop') => {
  if (message === 'stop') return stopped.abort();
  try {
    await attack.run({
      ...message,
      signal: stopped.signal,
      count: (outcome) => {
        outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
      },
    });
  } catch (error) {
    if (!stopped.signal.aborted) outcomes[`attack failed: ${String(error)}`] = 1;
  }
  process.send!(outcomes, () => process.exit(0));
});
process.once('disconnect', () => process.exit(0));
process.send!('ready');
