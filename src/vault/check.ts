/** Checks what is to be sealed in a credential, with messages that do not repeat it. */
import type { z } from 'zod';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { CREDENTIAL_TYPES, MIN_SECRET_LENGTH, isCredentialType } from './types.ts';

/**
 * Returns the data with its defaults.
 *
 * @throws FlowgresError VALIDATION_FAILED, with the field; TOO_LARGE
 */
export function checkCredential(type: string, data: unknown): Record<string, unknown> {
  if (!isCredentialType(type)) {
    throw new FlowgresError('VALIDATION_FAILED', 'There is no such type of credentials.', {
      hint: `Types: ${Object.keys(CREDENTIAL_TYPES).sort().join(', ')}.`,
      details: { field: 'type' },
    });
  }
  if (Buffer.byteLength(JSON.stringify(data) ?? '') > LIMITS.vault.maxSecretBytes) {
    throw new FlowgresError('TOO_LARGE', `A secret has at most ${LIMITS.vault.maxSecretBytes / 1024} KiB as JSON.`, {
      details: { limit: LIMITS.vault.maxSecretBytes },
    });
  }
  const parsed = CREDENTIAL_TYPES[type].safeParse(data);
  if (!parsed.success) throw invalid(parsed.error.issues[0]!);
  if (type === 'jwt' && !['secret', 'publicKey', 'jwksUrl'].some((key) => key in parsed.data)) {
    throw new FlowgresError('VALIDATION_FAILED', 'A jwt credential needs secret, publicKey or jwksUrl.', { details: { field: 'data' } });
  }
  if (type === 'custom' && Object.keys((parsed.data as { fields: object }).fields).length === 0) {
    throw new FlowgresError('VALIDATION_FAILED', 'A custom credential needs at least one field.', { details: { field: 'data.fields' } });
  }
  return parsed.data;
}

const MAX_SECRET_LENGTH = LIMITS.vault.maxVariableLength;

/**
 * Returns the value of a secret variable: a text of 4 to 16,000 characters.
 *
 * @throws FlowgresError VALIDATION_FAILED, TOO_LARGE
 */
export function checkSecretText(value: unknown): string {
  if (typeof value === 'string' && value.length > MAX_SECRET_LENGTH) {
    throw new FlowgresError('TOO_LARGE', `A secret variable has at most ${MAX_SECRET_LENGTH.toLocaleString('en')} characters.`, {
      details: { field: 'value', limit: MAX_SECRET_LENGTH },
    });
  }
  if (typeof value === 'string' && value.length >= MIN_SECRET_LENGTH && value.isWellFormed() && !value.includes('\0')) return value;
  throw new FlowgresError('VALIDATION_FAILED', `A secret variable is a text of at least ${MIN_SECRET_LENGTH} characters.`, {
    details: { field: 'value' },
  });
}

/** The message names the field; the value may be a secret. */
function invalid(issue: z.core.$ZodIssue): FlowgresError {
  const field = ['data', ...issue.path.map(String)].join('.').slice(0, 200);
  const message =
    issue.code === 'too_small'
      ? `${field} is missing or too short: a secret has at least ${MIN_SECRET_LENGTH} characters.`
      : issue.code === 'too_big'
        ? `${field} is too long.`
        : issue.code === 'unrecognized_keys'
          ? `${field} has a key that this type does not have.`
          : `${field} is not as it must be.`;
  return new FlowgresError('VALIDATION_FAILED', message, {
    hint: 'credential_types() has the JSON schema of each type.',
    details: { field },
  });
}
