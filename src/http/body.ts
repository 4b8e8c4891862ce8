/** Reads the body of a request, up to a limit. */
import type { IncomingMessage } from 'node:http';
import { FlowgresError } from '../errors.ts';

/**
 * Returns the raw body. Stops reading at `limit` bytes.
 *
 * @throws FlowgresError TOO_LARGE, or UNSUPPORTED_MEDIA_TYPE for a compressed body
 */
export async function readBody(request: IncomingMessage, limit: number): Promise<Buffer> {
  const encoding = request.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') {
    throw new FlowgresError('UNSUPPORTED_MEDIA_TYPE', 'A compressed body is not accepted.', { hint: 'Send it without Content-Encoding.' });
  }
  if (Number(request.headers['content-length'] ?? 0) > limit) throw tooLarge(limit);
  const chunks: Buffer[] = [];
  let size = 0;
  // Keep the connection open when the loop ends early: a refused request is still answered.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge(limit);
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
}

function tooLarge(limit: number): FlowgresError {
  return new FlowgresError('TOO_LARGE', `The body is larger than ${limit} bytes.`);
}
