/**
 * Redaction: replaces secrets in what a step gives to the log of its run, however a peer has echoed them: plain, as
 * base64 at any offset, hexadecimal, percent-encoded, or with the escapes of JSON.
 */
import { z } from 'zod';
import { CREDENTIAL_TYPES, MIN_SECRET_LENGTH, isCredentialType } from './types.ts';

/** What stands in the place of a secret. */
export const REDACTED = '[redacted]';

/** Replaces secrets. Without any it returns what it is given. */
export class Redactor {
  readonly #secrets = new Set<string>();
  #pattern: RegExp | undefined;

  /** Adds secrets; shorter ones than {@link MIN_SECRET_LENGTH} are left out. */
  add(secrets: Iterable<string>): void {
    for (const secret of secrets) {
      if (secret.length >= MIN_SECRET_LENGTH) this.#secrets.add(secret);
    }
    const forms = [...new Set([...this.#secrets].flatMap(formsOf))].sort((a, b) => b.length - a.length);
    this.#pattern = forms.length > 0 ? new RegExp(forms.map(escaped).join('|'), 'g') : undefined;
  }

  /** Returns the text without the secrets. */
  text(given: string): string {
    return this.#pattern ? given.replace(this.#pattern, REDACTED) : given;
  }

  /** Returns the JSON value without the secrets, in keys, too. A value without any is returned as it is. */
  value<T>(given: T): T {
    return this.#pattern ? (this.#walk(given) as T) : given;
  }

  #walk(given: unknown): unknown {
    if (typeof given === 'string') return this.text(given);
    if (typeof given === 'number' || JSON.isRawJSON(given)) return this.#number(given);
    if (Array.isArray(given)) {
      const items = given.map((each) => this.#walk(each));
      return items.every((each, index) => each === given[index]) ? given : items;
    }
    if (typeof given !== 'object' || given === null || 'toJSON' in given) return given;
    const entries = Object.entries(given);
    const walked = entries.map(([key, each]) => [this.text(key), this.#walk(each)] as const);
    const isSame = walked.every(([key, each], index) => key === entries[index]![0] && each === entries[index]![1]);
    return isSame ? given : Object.fromEntries(walked);
  }

  /** A secret of digits may come back as a number. */
  #number(given: number | { rawJSON: string }): unknown {
    const text = typeof given === 'number' ? String(given) : given.rawJSON;
    return this.text(text) === text ? given : REDACTED;
  }
}

/** Returns the secret values in the data of a credential: those that its schema marks with writeOnly. */
export function secretsOf(type: string, data: unknown): string[] {
  if (!isCredentialType(type)) return textsOf(data);
  return secretsBy(schemaOf(type), data);
}

interface Schema {
  writeOnly?: boolean;
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema | boolean;
}

const schemas = new Map<string, Schema>();

function schemaOf(type: keyof typeof CREDENTIAL_TYPES): Schema {
  const known = schemas.get(type) ?? (z.toJSONSchema(CREDENTIAL_TYPES[type], { io: 'input' }) as Schema);
  schemas.set(type, known);
  return known;
}

function secretsBy(schema: Schema, data: unknown): string[] {
  if (schema.writeOnly) return textsOf(data);
  if (Array.isArray(data)) return data.flatMap((each) => secretsBy(schema.items ?? {}, each));
  if (typeof data !== 'object' || data === null) return [];
  const others = typeof schema.additionalProperties === 'object' ? schema.additionalProperties : {};
  return Object.entries(data).flatMap(([key, each]) => secretsBy(schema.properties?.[key] ?? others, each));
}

function textsOf(data: unknown): string[] {
  if (typeof data === 'string') return [data];
  return typeof data === 'object' && data !== null ? Object.values(data).flatMap(textsOf) : [];
}

/** The forms in which a secret may stand in a text: with or without escapes of JSON, and each of these in an encoding. */
function formsOf(secret: string): string[] {
  const json = JSON.stringify(secret).slice(1, -1);
  const ascii = json.replace(/[\u0080-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const nested = JSON.stringify(json).slice(1, -1);
  const plain = new Set([secret, json, json.replaceAll('/', '\\/'), ascii, nested]);
  return [...plain].flatMap((form) => [form, ...encodingsOf(form)]);
}

function encodingsOf(text: string): string[] {
  const bytes = Buffer.from(text);
  const percent = encodeURIComponent(text);
  const strict = percent.replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const hex = bytes.toString('hex');
  const percents = [percent, strict, strict.replaceAll('%20', '+')];
  return [...percents, ...percents.map(lowerPercent), ...base64Forms(bytes), hex, hex.toUpperCase()];
}

/** The text as a regular expression that matches it alone. */
function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

function lowerPercent(text: string): string {
  return text.replace(/%[0-9A-F]{2}/g, (code) => code.toLowerCase());
}

/**
 * The characters that base64 makes of these bytes alone, at each of the three offsets that they may have in a longer
 * text; those that also depend on the bytes beside them are left out.
 */
function base64Forms(bytes: Buffer): string[] {
  const forms = [0, 1, 2].map((offset) => {
    const padded = Buffer.concat([Buffer.alloc(offset), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    const start = [0, 2, 3][offset]!;
    const isCut = (offset + bytes.length) % 3 !== 0;
    return padded.slice(start, isCut ? -1 : undefined);
  });
  const long = forms.filter((form) => form.length >= MIN_SECRET_LENGTH);
  return [...long, ...long.map((form) => form.replaceAll('+', '-').replaceAll('/', '_'))];
}
