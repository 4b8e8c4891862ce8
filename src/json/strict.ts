/** What a JSON value may be that PostgreSQL's `jsonb` is to store. */
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { JsonText } from './json.ts';

/** Limits of one value. */
export interface JsonLimits {
  /** Deepest nesting of arrays and objects; {@link MAX_JSON_DEPTH} when not given. */
  maxDepth?: number;
  /** Levels around the value that do not count; 0 when not given. */
  around?: number;
  /** Whether strings that PostgreSQL cannot store (NUL, unpaired surrogates) are refused; they are when not given. */
  strings?: 'refuse' | 'ignore';
}

/** Levels of arrays and objects that a value of a workflow may have; SQL has the same limit. */
export const MAX_JSON_DEPTH = LIMITS.json.maxDepth;
/** Digits of a number before and after the point, as it is without an exponent. */
const MAX_DIGITS = { before: 309, after: 400 };
/** Characters of a number. */
const MAX_NUMBER_LENGTH = LIMITS.json.maxNumberLength;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Parses JSON that `jsonb` can store: no NUL or unpaired surrogate in strings, no deep nesting, no huge number
 * such as `1e999999`.
 *
 * @throws FlowgresError INVALID_JSON, with the position in `details`
 */
export function parseStrictJson(text: string, limits: JsonLimits = {}): JsonText {
  try {
    JSON.parse(text);
  } catch (error) {
    throw new FlowgresError('INVALID_JSON', 'The body is not valid JSON.', { cause: error });
  }
  refuseUnstorable(text, limits);
  return new JsonText(text);
}

/**
 * Checks text that is known to be valid JSON, in one pass.
 *
 * @throws FlowgresError INVALID_JSON, with the position in `details`
 */
export function refuseUnstorable(text: string, { maxDepth = MAX_JSON_DEPTH, around = 0, strings = 'refuse' }: JsonLimits = {}): void {
  const endOf = strings === 'refuse' ? endOfString : endOfAnyString;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = endOf(text, at);
    } else if (code === 0x5b || code === 0x7b) {
      depth += 1;
      if (depth > maxDepth + around) throw invalid(`The JSON is nested deeper than ${maxDepth} levels.`, at);
    } else if (code === 0x5d || code === 0x7d) {
      depth -= 1;
    } else if (code === 0x2d || (code >= 0x30 && code <= 0x39)) {
      at = endOfNumber(text, at);
    }
  }
}

function endOfAnyString(text: string, start: number): number {
  let at = start + 1;
  for (; text.charCodeAt(at) !== QUOTE; at += 1) if (text.charCodeAt(at) === BACKSLASH) at += 1;
  return at;
}

/** Returns the position of the closing quote. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; ; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at;
    if (code !== BACKSLASH) continue;
    at += 1;
    if (text.charCodeAt(at) !== 0x75) continue;
    const unit = hexUnit(text, at);
    if (unit === 0) throw invalid('A string contains the character \\u0000.', at - 1);
    if (unit >= 0xdc00 && unit <= 0xdfff) throw invalid('A string contains half of a surrogate pair.', at - 1);
    at += 4;
    if (unit < 0xd800 || unit > 0xdbff) continue;
    const low = text.startsWith('\\u', at + 1) ? hexUnit(text, at + 2) : 0;
    if (low < 0xdc00 || low > 0xdfff) throw invalid('A string contains half of a surrogate pair.', at - 5);
    at += 6;
  }
}

function hexUnit(text: string, at: number): number {
  return Number.parseInt(text.slice(at + 1, at + 5), 16);
}

/** Returns the position of the number's last character. */
function endOfNumber(text: string, start: number): number {
  let end = start + 1;
  let point = 0;
  let exponentAt = 0;
  for (; end < text.length; end += 1) {
    const code = text.charCodeAt(end);
    if (code === 0x65 || code === 0x45) exponentAt = end + 1;
    else if (code === 0x2e) point = end;
    else if (!((code >= 0x30 && code <= 0x39) || code === 0x2b || code === 0x2d)) break;
  }
  if (end - start > MAX_DIGITS.before || exponentAt) {
    const exponent = exponentAt ? Number(text.slice(exponentAt, end)) : 0;
    const mantissaEnd = exponentAt ? exponentAt - 1 : end;
    const before = (point || mantissaEnd) - start - (text.charCodeAt(start) === 0x2d ? 1 : 0);
    const after = point ? mantissaEnd - point - 1 : 0;
    if (end - start > MAX_NUMBER_LENGTH || before + exponent > MAX_DIGITS.before || after - exponent > MAX_DIGITS.after) {
      throw invalid('A number is too large.', start);
    }
  }
  return end - 1;
}

function invalid(message: string, position: number): FlowgresError {
  return new FlowgresError('INVALID_JSON', message, { details: { position } });
}

/**
 * Returns `value` as JSON that PostgreSQL can store, with NUL and unpaired surrogates replaced by U+FFFD. Used
 * for data from other systems; data from callers is refused instead.
 */
export function encodeStorableJson(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  // JSON.stringify escapes surrogates only when they are unpaired.
  if (!/\\u(?:0000|d[89a-f])/.test(text)) return text;
  return text.replace(/\\(?:u(0000|d[89a-f][0-9a-f]{2})|.)/g, (found, unit?: string) => (unit ? '\\ufffd' : found));
}
