import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeForm } from '../../src/http/form.ts';
import { MULTIPART_LIMITS, parseMultipart } from '../../src/http/multipart.ts';

async function encode(fields: [string, string | File][]): Promise<[Buffer, string]> {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  const request = new Request('http://localhost/', { method: 'POST', body: form });
  return [Buffer.from(await request.arrayBuffer()), request.headers.get('content-type')!];
}

/** Without what forms write anew: line breaks, and names that cannot stand in a header. */
const text = fc.string({ unit: fc.constantFrom(...'aä€𝄞 "%&=+;-\\/'), maxLength: 30 });
const name = fc.string({ unit: fc.constantFrom(...'abä_[]'), minLength: 1, maxLength: 10 });

test('every form that is written as multipart is read as it was', async () => {
  const file = fc.record({ name, bytes: fc.uint8Array({ maxLength: 300 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(name, fc.oneof(text, file)), { minLength: 1, maxLength: 8 }), async (fields) => {
      const [body, type] = await encode(
        fields.map(([key, value]) => [
          key,
          typeof value === 'string' ? value : new File([Uint8Array.from(value.bytes)], value.name, { type: 'image/png' }),
        ]),
      );
      const expected = fields.map(([key, value]) => [
        key,
        typeof value === 'string' ? value : { name: value.name, type: 'image/png', base64: Buffer.from(value.bytes).toString('base64') },
      ]);
      expect(await parseMultipart(body, type)).toEqual(expected);
    }),
    { numRuns: 50 },
  );
});

test('every form that is written in UTF-8 is read as URLSearchParams reads it', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text)), (fields) => {
      const form = new URLSearchParams(fields);
      expect(decodeForm(Buffer.from(form.toString()), 'utf-8')).toEqual([...form]);
    }),
  );
});

test('a form has so many parts, and so many files', async () => {
  const many = (count: number, value: string | File) => Array.from({ length: count }, (): [string, string | File] => ['a', value]);
  const file = new File(['x'], 'x');
  for (const [count, value] of [
    [MULTIPART_LIMITS.parts, 'x'],
    [MULTIPART_LIMITS.files, file],
  ] as const) {
    expect(await parseMultipart(...(await encode(many(count, value))))).toHaveLength(count);
    await expect(parseMultipart(...(await encode(many(count + 1, value))))).rejects.toMatchObject({ code: 'TOO_LARGE' });
  }
});
