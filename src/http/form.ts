/** Decodes application/x-www-form-urlencoded in the charset that the sender declares. */
import { FlowgresError } from '../errors.ts';

/**
 * Returns the fields in their order.
 *
 * @param charset a label of the Encoding Standard, such as `windows-1252`
 * @throws FlowgresError INVALID_TEXT for an unknown charset, or bytes that are invalid in it
 */
export function decodeForm(body: Buffer, charset: string): [string, string][] {
  const decoder = decoderOf(charset);
  const decode = (text: string): string => {
    try {
      return decoder.decode(unescapeBytes(text));
    } catch {
      throw new FlowgresError('INVALID_TEXT', `The body is not valid ${charset}.`);
    }
  };
  return (
    body
      // One character for each byte.
      .toString('latin1')
      .split('&')
      .filter(Boolean)
      .map((field): [string, string] => {
        const end = field.indexOf('=');
        return end < 0 ? [decode(field), ''] : [decode(field.slice(0, end)), decode(field.slice(end + 1))];
      })
  );
}

function decoderOf(charset: string): InstanceType<typeof TextDecoder> {
  try {
    return new TextDecoder(charset, { fatal: true, ignoreBOM: true });
  } catch {
    throw new FlowgresError('INVALID_TEXT', `The charset ${charset} is not known.`);
  }
}

function unescapeBytes(text: string): Buffer {
  const bytes = text.replaceAll('+', ' ').replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  return Buffer.from(bytes, 'latin1');
}
