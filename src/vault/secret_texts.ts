/**
 * Secret texts: what expressions that name secret variables give. The database builds them from parts, and the worker
 * joins these just before the node is executed. Only the places that the compiled version has are read, so data that looks
 * like a secret text stays data.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';

const argument = z.union([z.strictObject({ secret: z.string() }), z.strictObject({ value: z.unknown() })]);
const part = z.union([
  z.string(),
  z.strictObject({ secret: z.string() }),
  z.strictObject({ of: z.string(), filters: z.array(z.strictObject({ name: z.string(), arguments: z.array(argument) })) }),
]);
const secretText = z.strictObject({ secretText: z.array(part) });
type SecretText = z.infer<typeof secretText>;
type Argument = z.infer<typeof argument>;

const algorithm = z.enum(['sha1', 'sha256', 'sha384', 'sha512']);
const encoding = z.enum(['hex', 'base64', 'base64url']);

/** Returns the names of the secret variables that the texts at these places name. */
export function secretNames(properties: unknown, places: readonly string[][]): string[] {
  const names = places.flatMap((place) =>
    textAt(properties, place).secretText.flatMap((each) => {
      if (typeof each === 'string') return [];
      if ('secret' in each) return [each.secret];
      return each.filters.flatMap((filter) => filter.arguments.flatMap((given) => ('secret' in given ? [given.secret] : [])));
    }),
  );
  return [...new Set(names)];
}

/**
 * Returns the properties with a text in each of these places.
 *
 * @param secrets the values of the secret variables by name
 */
export function joinSecretTexts<T>(properties: T, places: readonly string[][], secrets: ReadonlyMap<string, string>): T {
  return places.reduce((joined, place) => withText(joined, place, joinText(textAt(properties, place), secrets)), properties);
}

function textAt(properties: unknown, place: readonly string[]): SecretText {
  return secretText.parse(place.reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], properties));
}

/** Copies what leads to the place, so that the task keeps no secret. */
function withText<T>(value: T, [key, ...rest]: readonly string[], text: unknown): T {
  if (key === undefined) return text as T;
  const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>;
  copy[key] = withText(copy[key], rest, text);
  return copy as T;
}

/** A text that is one comparison keeps its type, as in other expressions. */
function joinText({ secretText: parts }: SecretText, secrets: ReadonlyMap<string, string>): unknown {
  const values = parts.map((each) => {
    if (typeof each === 'string') return each;
    if ('secret' in each) return secretOf(each, secrets);
    return each.filters.reduce<unknown>((value, { name, arguments: given }) => applyFilter(name, String(value), given, secrets), each.of);
  });
  return values.length === 1 ? values[0] : values.join('');
}

function applyFilter(name: string, value: string, given: Argument[], secrets: ReadonlyMap<string, string>): unknown {
  const values = given.map((each) => ('secret' in each ? secretOf(each, secrets) : each.value));
  switch (name) {
    case 'hmac':
      return createHmac(algorithm.parse(values[0]), keyOf(String(values[1])))
        .update(value)
        .digest(encoding.parse(values[2] ?? 'hex'));
    case 'constant_time_equals':
      return values[0] !== null && typeof values[0] !== 'object' && timingSafeEqual(digest(value), digest(String(values[0])));
    default:
      throw new FlowgresError('INVALID_ARGUMENT', `A worker has no filter ${name}.`);
  }
}

/** Secrets of Standard Webhooks are base64 behind whsec_; all others are the key as they are. */
function keyOf(secret: string): string | Buffer {
  return secret.startsWith('whsec_') ? Buffer.from(secret.slice('whsec_'.length), 'base64') : secret;
}

function secretOf({ secret }: { secret: string }, secrets: ReadonlyMap<string, string>): string {
  const value = secrets.get(secret);
  if (value === undefined) throw missingVariable(secret);
  return value;
}

/** The error of a secret variable that the organization does not have. */
export function missingVariable(name: string): FlowgresError {
  return new FlowgresError('VARIABLE_NOT_FOUND', `The organization has no secret variable ${JSON.stringify(name)}.`, {
    hint: 'Set it again, with secret, or publish the workflow with another one.',
  });
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
