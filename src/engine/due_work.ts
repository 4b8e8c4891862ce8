/** The statements that a worker sends over its session: the lock that says that it lives, and what is due. */
import { z } from 'zod';

/** Takes the lock of the worker $1 for the session. */
export const HOLD_SESSION = 'select engine.hold_session($1::uuid)';

/** Asks what is due for the worker $1; $2: whether it judges the sessions of other workers. */
export const DUE_WORK = 'select steps, schedules, jobs, suspects, lost_workers from engine.due_work($1::uuid, $2::boolean)';

/** The row of {@link DUE_WORK}. */
export const dueWorkAnswer = z.object({
  steps: z.boolean(),
  schedules: z.boolean(),
  jobs: z.boolean(),
  suspects: z.boolean(),
  lost_workers: z.boolean(),
});

/** What is due: see engine.due_work() in the reference of the SQL functions. */
export type DueWork = z.infer<typeof dueWorkAnswer>;
