/** Opened credentials of webhooks, remembered for a second at most, so that not every request opens one. */
import { LIMITS } from '../constants.ts';

const FRESH_MS = LIMITS.webhooks.routeMs;
const MAX_ENTRIES = 10_000;

/** A credential with its secret. */
export interface OpenedCredential {
  /** Changes with every change of the secret. */
  version: number;
  id: string;
  type: string;
  data: Record<string, unknown>;
}

/** Opens credentials: {@link Credentials} of the vault. */
export interface CredentialSource {
  open(ref: { organizationId: string; name: string }): Promise<OpenedCredential>;
}

/** Opens each credential at most once a second. Secrets leave the memory when that second is over. */
export class CredentialCache {
  readonly #source: CredentialSource;
  readonly #known = new Map<string, Promise<OpenedCredential>>();

  constructor(source: CredentialSource) {
    this.#source = source;
  }

  /** Returns the credential. A failure is not remembered. Errors as of {@link CredentialSource.open}. */
  open(organizationId: string, name: string): Promise<OpenedCredential> {
    const key = `${organizationId} ${name}`;
    const known = this.#known.get(key);
    if (known) return known;
    const opened = this.#source.open({ organizationId, name });
    const forget = () => {
      if (this.#known.get(key) === opened) this.#known.delete(key);
    };
    if (this.#known.size >= MAX_ENTRIES) this.#known.delete(this.#known.keys().next().value!);
    this.#known.set(key, opened);
    opened.then(() => setTimeout(forget, FRESH_MS).unref(), forget);
    return opened;
  }
}
