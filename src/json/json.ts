/**
 * JSON at every border of the process: numbers keep all their digits, as they do in PostgreSQL. What is only passed on
 * stays text (JsonText); what is parsed has RawNumber in the place of numbers that JavaScript would change.
 */
import { z } from 'zod';

/** JSON that is kept as text and parsed only if somebody looks into it. */
export class JsonText {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  /** The parsed value. */
  get value(): unknown {
    return parseJson(this.text);
  }

  /** What `JSON.stringify` writes. */
  toJSON(): unknown {
    return this.value;
  }

  toString(): string {
    return this.text;
  }
}

declare global {
  /** Parts of ECMAScript that the compiler does not know yet; Node has them since version 21. */
  interface JSON {
    /** A number that `JSON.stringify` writes as it was. */
    rawJSON(text: string): RawNumber;
    isRawJSON(value: unknown): value is RawNumber;
    parse(text: string, revive: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
  }
}

/** A number with more digits than JavaScript's have, or written in another way than JavaScript would write it. */
export interface RawNumber {
  readonly rawJSON: string;
}

/** May match inside of a string as well, which costs time only. */
const NUMBER_AT_RISK = /(?:^|[[:,\s])-?(?:[\d.]{16,}|\d+\.\d*0|\d[\d.]*[eE][+-]?\d+)(?=[\s,\]}]|$)/;

/** `JSON.parse` and `JSON.parse(text, exactNumber)` give the same, but for numbers that JavaScript would change. */
export function exactNumber(_key: string, value: unknown, { source }: { source?: string }): unknown {
  return typeof value === 'number' && source !== undefined && String(value) !== source ? JSON.rawJSON(source) : value;
}

/** Whether JSON may hold a number that JavaScript would change. */
export function mayChange(text: string): boolean {
  return NUMBER_AT_RISK.test(text);
}

/** Parses JSON; a number that JavaScript would change becomes an opaque value that `JSON.stringify` writes as it was. */
export function parseJson(text: string): unknown {
  return mayChange(text) ? JSON.parse(text, exactNumber) : JSON.parse(text);
}

/** Any value as JSON text; what JSON cannot express is null. */
export function encodeJson(value: unknown): string {
  return value instanceof JsonText ? value.text : (JSON.stringify(value) ?? 'null');
}

/** A text, number or truth value as a program sends it on outside of JSON. A RawNumber comes as a text like `1.5`. */
export const scalarShape = z.union([
  z.string(),
  z.number(),
  z.boolean(),
  z.custom<RawNumber>((value) => JSON.isRawJSON(value)).transform(({ rawJSON }) => numberText(rawJSON)),
]);

/** A number without zeros at its end, as expressions write it in texts. */
function numberText(text: string): string {
  return /^-?\d+\.\d+$/.test(text) ? text.replace(/\.?0+$/, '') : text;
}
