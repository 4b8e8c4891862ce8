/**
 * JSON that keeps all digits of numbers, as PostgreSQL does. Values that are only passed on remain text
 * (JsonText); parsed values have RawNumber in place of numbers that JavaScript would change.
 */
import { z } from 'zod';

/** JSON kept as text and parsed when its value is read. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** The parsed value. Throws for invalid JSON. */
  get value(): unknown {
    return parseJson(this.text);
  }

  /** The value that `JSON.stringify` writes. */
  toJSON(): unknown {
    return this.value;
  }

  toString(): string {
    return this.text;
  }
}

declare global {
  /** Members of JSON that TypeScript's types omit; Node has them since version 21. */
  interface JSON {
    /** Returns a number that `JSON.stringify` writes as this text. */
    rawJSON(text: string): RawNumber;
    isRawJSON(value: unknown): value is RawNumber;
    parse(text: string, revive: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
  }
}

/** A number with more digits than JavaScript keeps, or in another notation than JavaScript writes. */
export interface RawNumber {
  readonly rawJSON: string;
}

/** Finds numbers that JavaScript might change. May match inside of a string, which only costs time. */
const NUMBER_AT_RISK = /(?:^|[[:,\s])-?(?:[\d.]{16,}|\d+\.\d*0|\d[\d.]*[eE][+-]?\d+)(?=[\s,\]}]|$)/;

/** A reviver for `JSON.parse` that replaces numbers that JavaScript would change by RawNumber. */
export function exactNumber(_key: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value === 'number' && source !== undefined && String(value) !== source ? JSON.rawJSON(source) : value;
}

/** Whether JSON may contain a number that JavaScript would change. */
export function mayChange(text: string): boolean {
  return NUMBER_AT_RISK.test(text);
}

/** Parses JSON, with RawNumber for numbers that JavaScript would change. Throws SyntaxError. */
export function parseJson(text: string): unknown {
  return mayChange(text) ? JSON.parse(text, exactNumber) : JSON.parse(text);
}

/** Parses JSON. Returns undefined for a text that is not JSON. */
export function tryParseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Returns any value as JSON text; null for what JSON cannot express. */
export function encodeJson(value: unknown): string {
  return value instanceof JsonText ? value.text : (JSON.stringify(value) ?? 'null');
}

/**
 * Accepts a text, number or boolean, and returns it as a text outside of JSON; a RawNumber becomes a text such
 * as `1.5`.
 */
export const scalarShape = z.union([
  z.string(),
  z.number(),
  z.boolean(),
  z.custom<RawNumber>((value) => JSON.isRawJSON(value)).transform(({ rawJSON }) => numberText(rawJSON)),
]);

/** Returns a number without trailing zeros, as expressions write it in texts. */
function numberText(text: string): string {
  return /^-?\d+\.\d+$/.test(text) ? text.replace(/\.?0+$/, '') : text;
}
