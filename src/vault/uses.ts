/** Counts uses of credentials in memory and tells the database now and then, so that a use writes nothing itself. */
import type pg from 'pg';
import { Statements } from '../engine/statements.ts';

/** Where a credential is used. */
export interface UsedBy {
  workflowId: string;
  /** The node of the step or of the trigger. */
  node: string;
}

/** How often the database is told, in milliseconds. */
export const USES_FLUSH_MS = 60_000;

interface Uses {
  organizationId: string;
  credentialId: string;
  workflowId: string;
  node: string;
  count: number;
}

/** The uses that the database has not been told of yet. */
export class CredentialUses {
  readonly #statements: Statements;
  #uses = new Map<string, Uses>();

  constructor(pool: pg.Pool) {
    this.#statements = new Statements(pool);
  }

  count(credential: { organizationId: string; id: string }, { workflowId, node }: UsedBy): void {
    const key = `${credential.id}/${workflowId}/${node}`;
    const known = this.#uses.get(key);
    if (known) known.count += 1;
    else this.#uses.set(key, { organizationId: credential.organizationId, credentialId: credential.id, workflowId, node, count: 1 });
  }

  /** Tells the database; what it refuses or does not answer is kept for the next time. */
  async flush(): Promise<void> {
    if (this.#uses.size === 0) return;
    const uses = this.#uses;
    this.#uses = new Map();
    try {
      await this.#statements.ask('record_credential_uses', 'select engine.record_credential_uses($1)', [
        JSON.stringify([...uses.values()]),
      ]);
    } catch (error) {
      for (const [key, { count, ...use }] of uses) this.#uses.set(key, { ...use, count: count + (this.#uses.get(key)?.count ?? 0) });
      throw error;
    }
  }
}
