/** Makes starts of runs slow or failing, for some organizations only. */
import type { TestDatabase } from './database.ts';

/**
 * From now on every start of a run of the organization first executes `statement`, such as `perform
 * pg_sleep(30)`.
 */
export async function beforeStartsOf(db: TestDatabase, organizationId: string, statement: string): Promise<void> {
  const name = `before_starts_${organizationId.replaceAll('-', '')}`;
  await db.admin.query(`
    create or replace function public.${name}() returns trigger language plpgsql as $$ begin ${statement}; return new; end $$;
    create or replace trigger ${name} before insert on public.workflow_runs for each row
    when (new.organization_id = '${organizationId}') execute function public.${name}()`);
}
