/**
 * Serves the console, the pages for browsers: its files from memory, and its page at every address that a
 * browser opens and that no other part answers.
 */
import { readFileSync, readdirSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { extname, join, sep } from 'node:path';
import { constants, brotliCompressSync, gzipSync } from 'node:zlib';
import { CONSOLE_HEADERS } from './page_policy.ts';

const PAGE = '/index.html';
/** Files that the server reads and browsers do not. */
const OWN_FILES: ReadonlySet<string> = new Set(['/operations.json']);
/** Files below are named by the hash of their content, so a browser keeps them for good. */
const HASHED = '/assets/';
const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
};

/** Answers a request for the console; false for one that is not for it. */
export type ConsoleHandler = (request: IncomingMessage, response: ServerResponse) => boolean;

interface ConsoleFile {
  type: string;
  body: Buffer;
  /** Compressed bodies by encoding, made for the first browser that asks. */
  compressed: Map<string, Buffer>;
}

/**
 * Reads the built console into memory.
 *
 * @param folder what `buildConsole()` returned
 */
export function createConsole(folder: string): ConsoleHandler {
  const files = readFiles(folder);
  const page = files.get(PAGE)?.body.toString();
  if (page === undefined) throw new Error(`${folder} has no index.html`);
  return (request, response) => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return false;
    const path = (request.url ?? '/').split('?', 1)[0]!;
    const file = path === PAGE ? undefined : files.get(path);
    if (file) sendFile(request, response, path, file);
    else if (isOpened(request, path)) sendPage(response, pageAt(page, path), request.method === 'HEAD');
    else return false;
    return true;
  };
}

function readFiles(folder: string): Map<string, ConsoleFile> {
  const files = new Map<string, ConsoleFile>();
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = join(entry.parentPath, entry.name);
    const path = `/${file.slice(folder.length + 1).replaceAll(sep, '/')}`;
    const type = TYPES[extname(entry.name)];
    if (entry.isFile() && type && !OWN_FILES.has(path)) files.set(path, { type, body: readFileSync(file), compressed: new Map() });
  }
  return files;
}

/** Whether a browser opens this address as a page. A program that asks for JSON gets 404 in JSON. */
function isOpened(request: IncomingMessage, path: string): boolean {
  if (path === '/') return true;
  return /^(?:\/[\w-]+)+\/?$/.test(path) && (request.headers.accept ?? '').includes('text/html');
}

/**
 * Returns the page with the paths of its files relative to the address, so that it works behind a proxy that
 * serves it below a path of its own.
 */
function pageAt(page: string, path: string): string {
  return page.replaceAll('="./', `="${'../'.repeat(path.split('/').length - 2) || './'}`);
}

function sendPage(response: ServerResponse, html: string, isHead: boolean): void {
  const body = Buffer.from(html);
  response.writeHead(200, {
    ...CONSOLE_HEADERS,
    'content-type': TYPES['.html'],
    'content-length': body.length,
    // The page names the files of its build: an older one would name files that are gone.
    'cache-control': 'no-cache',
  });
  response.end(isHead ? undefined : body);
}

function sendFile(request: IncomingMessage, response: ServerResponse, path: string, file: ConsoleFile): void {
  const accepted = String(request.headers['accept-encoding'] ?? '');
  const encoding = ['br', 'gzip'].find((each) => new RegExp(`\\b${each}\\b`).test(accepted));
  const body = encoding ? compressedBody(file, encoding) : file.body;
  response.writeHead(200, {
    'content-type': file.type,
    'content-length': body.length,
    'cache-control': path.startsWith(HASHED) ? 'public, max-age=31536000, immutable' : 'no-cache',
    vary: 'accept-encoding',
    ...(encoding ? { 'content-encoding': encoding } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function compressedBody(file: ConsoleFile, encoding: string): Buffer {
  let body = file.compressed.get(encoding);
  if (!body) {
    // Quality 6 is close to the best and takes a few milliseconds, once for each file and process.
    body = encoding === 'br' ? brotliCompressSync(file.body, { params: { [constants.BROTLI_PARAM_QUALITY]: 6 } }) : gzipSync(file.body);
    file.compressed.set(encoding, body);
  }
  return body;
}
