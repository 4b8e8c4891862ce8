/** Keys and credentials for tests. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createKeyFile } from '../../src/vault/keys.ts';
import { checkCredential } from '../../src/vault/check.ts';
import { Vault, newSecretId } from '../../src/vault/vault.ts';
import { type Session, type TestDatabase, asApi } from './database.ts';
import type { TestOrganization } from './factory.ts';

/** A vault with a key file of its own. */
export interface TestVault {
  vault: Vault;
  file: string;
}

/** Creates a key file in a new folder, and the vault that reads it. */
export async function createTestVault(): Promise<TestVault> {
  const file = join(await mkdtemp(join(tmpdir(), 'flowgres-keys-')), 'vault-keys.json');
  await createKeyFile(file);
  return { vault: await Vault.read({ file }), file };
}

/** What a test says of a credential. */
export interface GivenCredential {
  name: string;
  type: string;
  data: Record<string, unknown>;
  allowedHosts?: string[];
  isShared?: boolean;
  expiresAt?: string;
}

/** Creates a credential as the owner of the organization, or as who has `session`, and returns its id. */
export async function createCredential(
  db: TestDatabase,
  { vault }: Pick<TestVault, 'vault'>,
  organization: TestOrganization,
  given: GivenCredential,
  session: Session = asApi(db, organization.token),
): Promise<string> {
  const { name, type, data, allowedHosts = [], isShared = false, expiresAt = null } = given;
  const id = newSecretId();
  const envelope = vault.seal({ organizationId: organization.id, id, version: 1 }, checkCredential(type, data));
  await session.query(
    `select from create_credential(id => $1, name => $2, type => $3, envelope => $4, allowed_hosts => $5, is_shared => $6, expires_at => $7)`,
    [id, name, type, envelope, allowedHosts, isShared, expiresAt],
  );
  return id;
}
