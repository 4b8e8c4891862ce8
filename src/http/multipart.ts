/** Parses multipart/form-data: fields as texts, files as `{name, type, base64}`. */
import { Busboy } from '@fastify/busboy';
import { LIMITS } from '../constants.ts';
import { FlowgresError } from '../errors.ts';

/** A file of a form. */
export interface FormFile {
  /** File name as the sender states it, without a path. */
  name: string;
  type: string;
  base64: string;
}

/** The body as a whole has a limit of its own, which is the limit of each part, too. */
export const MULTIPART_LIMITS = LIMITS.multipart;

/**
 * Returns the parts in their order.
 *
 * @throws FlowgresError TOO_LARGE for more parts than {@link MULTIPART_LIMITS}, INVALID_TEXT for a malformed
 *   form
 */
export async function parseMultipart(body: Buffer, contentType: string): Promise<[string, string | FormFile][]> {
  const parts: [string, string | FormFile][] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  try {
    const parser = new Busboy({
      headers: { 'content-type': contentType },
      limits: { ...MULTIPART_LIMITS, fields: MULTIPART_LIMITS.parts, fieldSize: body.length, fileSize: body.length },
    });
    parser.on('field', (name, value) => parts.push([name, value]));
    parser.on('file', (name, stream, fileName, _encoding, type) => {
      const file: FormFile = { name: fileName ?? '', type, base64: '' };
      const chunks: Buffer[] = [];
      parts.push([name, file]);
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        file.base64 = Buffer.concat(chunks).toString('base64');
      });
    });
    for (const limit of ['partsLimit', 'filesLimit', 'fieldsLimit'] as const) parser.on(limit, () => reject(tooManyParts()));
    parser.on('error', (error: unknown) => reject(notAForm(error)));
    parser.on('finish', resolve);
    parser.end(body);
  } catch (error) {
    reject(notAForm(error));
  }
  await promise;
  return parts;
}

function tooManyParts(): FlowgresError {
  const { parts, files } = MULTIPART_LIMITS;
  return new FlowgresError('TOO_LARGE', `A form has at most ${parts} parts, ${files} of them files.`);
}

function notAForm(cause: unknown): FlowgresError {
  return new FlowgresError('INVALID_TEXT', 'The body is no complete multipart/form-data.', { cause });
}
