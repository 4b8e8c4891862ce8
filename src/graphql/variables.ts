/** Checks all values in a request's variables in one pass, and reports the place of an invalid one. */
import { requestError } from '../http/errors.ts';
import { LIMITS } from './limits.ts';

interface Place {
  value: unknown;
  name: string;
  within: Place | null;
  depth: number;
}

/**
 * Checks variables; `details.field` names the invalid value.
 *
 * @throws SafeError TOO_LARGE for deeper nesting than PostgreSQL and JSON.stringify can process, INVALID_TEXT
 *   for texts that PostgreSQL cannot store, INVALID_ARGUMENT for numbers that JavaScript cannot hold
 */
export function requireVariables(variables: unknown): void {
  const open: Place[] = [{ value: variables, name: '', within: null, depth: 0 }];
  for (let place = open.pop(); place; place = open.pop()) {
    const { value, name, depth } = place;
    if (typeof value === 'string') {
      // A password is hashed and not stored, so any text is allowed.
      if (!isText(value) && !/password$/i.test(name)) throw invalidText(place);
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw outOfRange(place);
    } else if (JSON.isRawJSON(value)) {
      if (!Number.isFinite(Number(value.rawJSON))) throw outOfRange(place);
    } else if (typeof value === 'object' && value !== null) {
      if (depth > LIMITS.maxVariableDepth) throw tooDeep(place);
      for (const [key, inner] of Object.entries(value)) {
        const inside = { value: inner, name: key, within: place, depth: depth + 1 };
        if (!isText(key)) throw invalidText(inside);
        open.push(inside);
      }
    }
  }
}

const isText = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

/** Formats the place for users, shortened when it is long. */
function fieldOf(place: Place): string {
  const names: string[] = [];
  for (let each: Place | null = place; each?.within; each = each.within) names.push(each.name);
  return names.reverse().slice(0, 8).join('.').replaceAll('\0', '').toWellFormed().slice(0, 200);
}

function invalidText(place: Place): Error {
  const field = fieldOf(place);
  return requestError(
    400,
    'INVALID_TEXT',
    `The variable ${field} has a character that cannot be stored: U+0000, or half of a pair of surrogates.`,
    {
      details: { field },
    },
  );
}

function outOfRange(place: Place): Error {
  const field = fieldOf(place);
  return requestError(400, 'INVALID_ARGUMENT', `The number of the variable ${field} is too large.`, { details: { field } });
}

function tooDeep(place: Place): Error {
  const field = fieldOf(place);
  return requestError(400, 'TOO_LARGE', `The variable ${field} has more than ${LIMITS.maxVariableDepth} levels.`, {
    details: { field, limit: LIMITS.maxVariableDepth },
  });
}
