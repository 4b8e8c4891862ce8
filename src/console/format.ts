/** Formats times, durations and sizes for people, in the language and the zone of the browser. */

const DATE_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const SAME_DAY = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const THIS_YEAR = new Intl.DateTimeFormat(undefined, {
  month: 'short',
  day: 'numeric',
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});
const NUMBER = new Intl.NumberFormat();
const BYTE_UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Returns a time as short as it is clear: without the day when it is today's, without the year in this one. */
export function shortTime(iso: string, now = new Date()): string {
  const at = new Date(iso);
  if (at.toDateString() === now.toDateString()) return SAME_DAY.format(at);
  return (at.getFullYear() === now.getFullYear() ? THIS_YEAR : DATE_TIME).format(at);
}

/** Returns the whole time in UTC with milliseconds. */
export function utcTime(iso: string): string {
  return new Date(iso).toISOString().replace('T', ' ').replace('Z', '');
}

/** Returns a duration of milliseconds: 340 ms, 1.2 s, 3 min 5 s, 2 h 10 min, 3 d 4 h. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const [minutes, hours, days] = [Math.floor(seconds / 60), Math.floor(seconds / 3_600), Math.floor(seconds / 86_400)];
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${days} d ${hours % 24} h`;
}

/** Returns a whole number with the separators of the reader's language. */
export function count(value: number | string): string {
  return NUMBER.format(Number(value));
}

/** Returns a size of bytes. */
export function bytes(size: number): string {
  const power = size < 1 ? 0 : Math.min(Math.floor(Math.log10(size) / 3), BYTE_UNITS.length - 1);
  const scaled = size / 1_000 ** power;
  return `${scaled < 10 && power > 0 ? scaled.toFixed(1) : Math.round(scaled)} ${BYTE_UNITS[power]}`;
}

/** Returns the start of a UUID, enough to tell runs apart. Those of version 7 begin with the time: their end differs. */
export function shortId(id: string): string {
  return id.slice(-8);
}
