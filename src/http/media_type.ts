/** Parses content types. */

/** A parsed content type. */
export interface MediaType {
  /** For example `application/json`; empty when the header is missing. */
  type: string;
  /** `utf-8` when not given. */
  charset: string;
}

/** Parses a content-type header. */
export function parseMediaType(header: string | string[] | undefined): MediaType {
  const text = String(header ?? '').toLowerCase();
  return { type: text.split(';')[0]?.trim() ?? '', charset: /charset="?([\w-]+)/.exec(text)?.[1] ?? 'utf-8' };
}

/** Returns the form in which a workflow gets a body of this type. */
export function contentKind(type: string): 'json' | 'form' | 'text' | 'bytes' {
  if (/^application\/(?:.+\+)?json$/.test(type)) return 'json';
  if (type === 'application/x-www-form-urlencoded') return 'form';
  if (/^text\/|^application\/(?:(?:.+\+)?xml|javascript|graphql|yaml|x-ndjson)$/.test(type)) return 'text';
  return 'bytes';
}
