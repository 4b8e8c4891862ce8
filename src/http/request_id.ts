/** The id of an HTTP request, which stands in its answer, in log lines and in the audit log. */
import { randomUUID } from 'node:crypto';
import { z } from 'zod';

const givenRequestId = z.uuid();

/** Returns the value of the header x-request-id when that is a UUID, else a new one. */
export function requestIdOf(header: string | string[] | undefined): string {
  return givenRequestId.safeParse(header).data ?? randomUUID();
}
