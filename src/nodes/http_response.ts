/** Reads a response up to a size limit, compressed and decompressed, and parses it by its type. */
import type { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib';
import type { Dispatcher } from 'undici';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';
import { parseJson } from '../json/json.ts';
import { refuseUnstorable } from '../json/strict.ts';
import { contentKind, parseMediaType } from '../http/media_type.ts';
import { type EffectContext, NodeError } from './types.ts';

/** Largest response, on the wire and decompressed. */
const MAX_RESPONSE_SIZE = LIMITS.httpRequest.maxResponseBytes;
/** Answers up to here need no memory reserved. */
const SMALL_RESPONSE_SIZE = 64 * 1024;
const MAX_CODINGS = LIMITS.httpRequest.maxCodings;
const DECODERS: Record<string, () => Transform> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
};

/** How a response is parsed; `auto` decides by the content type. */
export type ResponseType = 'auto' | 'json' | 'text' | 'base64';

/**
 * Returns the body: parsed JSON, a text, `{"base64"}` for bytes, or null when it is empty.
 *
 * @throws NodeError for a response that is too large or cannot be parsed as requested
 */
export async function readResponseBody(
  response: Dispatcher.ResponseData,
  wanted: ResponseType,
  { signal, reserve, redact }: Pick<EffectContext<unknown>, 'signal' | 'reserve' | 'redact'>,
): Promise<unknown> {
  const declared = Number(response.headers['content-length']);
  if (declared > MAX_RESPONSE_SIZE) {
    response.body.on('error', () => undefined).destroy();
    throw tooLarge();
  }
  const decoders = decodersOf(response);
  const largest = decoders.length || Number.isNaN(declared) ? MAX_RESPONSE_SIZE : declared;
  const bytes = await readBytes(response.body, decoders, signal, () => reserve(largest));
  if (!bytes.length) return null;
  const { type, charset } = parseMediaType(response.headers['content-type']);
  const as = wanted === 'auto' ? contentKind(type) : wanted;
  if (as === 'base64' || as === 'bytes') return { base64: bytes.toString('base64') };
  const text = decode(bytes, charset);
  return as === 'json' ? parseBody(text, redact) : text;
}

function decodersOf(response: Dispatcher.ResponseData): Transform[] {
  const names = String(response.headers['content-encoding'] ?? '')
    .toLowerCase()
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name && name !== 'identity');
  const decoders = names.reverse().map((name) => DECODERS[name]);
  if (names.length > MAX_CODINGS || decoders.includes(undefined)) {
    response.body.on('error', () => undefined).destroy();
    throw new NodeError('INVALID_RESPONSE', `The response is encoded as ${names.join(', ').slice(0, 100)}.`);
  }
  return decoders.map((create) => (create as () => Transform)());
}

/** Reads and decompresses the body. Pauses reading while `reserve` waits, so that the peer waits too. */
async function readBytes(body: Readable, decoders: Transform[], signal: AbortSignal, reserve: () => Promise<void>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const collect = async (source: AsyncIterable<Buffer>) => {
    let size = 0;
    for await (const chunk of source) {
      if (size <= SMALL_RESPONSE_SIZE && size + chunk.length > SMALL_RESPONSE_SIZE) await reserve();
      size += chunk.length;
      chunks.push(chunk);
    }
  };
  try {
    const stages = [body, limited, ...decoders.flatMap((decoder) => [decoder, limited]), collect];
    // pipeline's types accept a list of streams only, but a stage may be a function.
    await pipeline(stages as unknown as NodeJS.ReadWriteStream[], { signal });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NodeError) throw error;
    throw new NodeError('INVALID_RESPONSE', `The response broke off: ${(error as Error).message}`, {
      retryable: true,
      cause: error,
    });
  }
  return Buffer.concat(chunks);
}

async function* limited(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of source) {
    size += chunk.length;
    if (size > MAX_RESPONSE_SIZE) throw tooLarge();
    yield chunk;
  }
}

function tooLarge(): NodeError {
  return new NodeError('TOO_LARGE', `The response is larger than ${MAX_RESPONSE_SIZE} bytes.`);
}

function decode(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return new TextDecoder().decode(bytes);
  }
}

/**
 * Parses JSON. Numbers and nesting beyond the limits fail the node; characters that PostgreSQL cannot store are
 * replaced later.
 */
function parseBody(text: string, redact: (text: string) => string): unknown {
  try {
    JSON.parse(text);
    refuseUnstorable(text, { strings: 'ignore' });
    return parseJson(text);
  } catch (error) {
    const reason = error instanceof FlowgresError ? `The response is refused: ${error.message}` : 'The response is not valid JSON.';
    throw new NodeError('INVALID_RESPONSE', reason, { details: { body: redact(text).slice(0, 200) }, cause: error });
  }
}
