/**
 * What is closed when a test file ends. Vitest runs several files in one process, where the module of a helper is
 * loaded once: a helper says here what it closes, and the setup of each file calls it.
 */
const works: (() => Promise<void> | void)[] = [];

/** Calls `work` at the end of each test file, before the work of helpers that this one imports. */
export function atEndOfFile(work: () => Promise<void> | void): void {
  works.push(work);
}

/** Closes everything, whatever fails. Rejects with the first failure. */
export async function endFile(): Promise<void> {
  const failures: unknown[] = [];
  for (const work of works.toReversed()) {
    try {
      await work();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw failures[0];
}

/** Waits for all, and then rejects with the first failure. */
export async function all(promises: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(promises)).find((each) => each.status === 'rejected');
  if (failed) throw failed.reason;
}
