/** Formats a server error as libpq does, which is the text that pg_cron records. */
import type pg from 'pg';

/** Columns of a long line that libpq shows, and the least number of them after the position of the error. */
const DISPLAY_SIZE = 60;
const MIN_RIGHT_CUT = 10;

/** Returns `ERROR:  division by zero` and the further fields, each on a line of its own. */
export function libpqMessage(error: pg.DatabaseError, command: string): string {
  const { severity, message, detail, hint, internalQuery, where } = error;
  const place = error.position
    ? placeOf(command, Number(error.position))
    : internalQuery && error.internalPosition
      ? placeOf(internalQuery, Number(error.internalPosition))
      : '';
  const lines = { DETAIL: detail, HINT: hint, QUERY: internalQuery, CONTEXT: where };
  const rest = Object.entries(lines).map(([label, text]) => (text ? `${label}:  ${text}\n` : ''));
  return `${severity ?? 'ERROR'}:  ${message}\n${place}${rest.join('')}`;
}

/** Returns the line with the error and a caret below it; `position` counts characters from 1. */
function placeOf(text: string, position: number): string {
  const characters = [...text].slice(0, position - 1);
  const before = characters.join('').split(/\r\n|\r|\n/);
  const number = before.length;
  const column = [...(before.at(-1) ?? '')].length;
  const line = [...(text.split(/\r\n|\r|\n/)[number - 1] ?? '')].map((character) => (character === '\t' ? ' ' : character));
  let start = 0;
  let end = line.length;
  if (line.length > DISPLAY_SIZE) {
    // Show the end of the line if it fits; else keep the position of the error near the right edge.
    if (column + MIN_RIGHT_CUT < DISPLAY_SIZE) end = DISPLAY_SIZE;
    else {
      if (column + MIN_RIGHT_CUT < line.length) end = column + MIN_RIGHT_CUT;
      start = end - DISPLAY_SIZE;
    }
  }
  const label = `LINE ${number}: ${start > 0 ? '...' : ''}`;
  const shown = `${label}${line.slice(start, end).join('')}${end < line.length ? '...' : ''}`;
  return `${shown}\n${' '.repeat(label.length + column - start)}^\n`;
}
