/** The tokenizer of expressions: no text is lost, whatever it is. */
import fc from 'fast-check';
import { beforeAll, describe, expect, test } from 'vitest';
import { type TestDatabase, createTestDatabase } from '../../../helpers/database.ts';
import { storable } from '../../../helpers/arbitraries.ts';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});

interface Piece {
  literal: string | null;
  expression: string | null;
  start_at: number;
  error: string | null;
}

const split = async (text: string) =>
  (await db.admin.query<Piece & Record<string, unknown>>('select * from engine.split_template($1)', [text])).rows;

describe('tokens', () => {
  test('are texts, numbers, words and operators', async () => {
    const { rows } = await db.admin.query('select engine.tokenize($1) as tokens', [`$.a[*] ? (@."b c" >= 1.5e3 && @ != 'x\\'y')|pad(-2)`]);
    expect(rows[0].tokens.filter((token: string) => token.trim())).toEqual([
      ...[
        '$',
        '.',
        'a',
        '[',
        '*',
        ']',
        '?',
        '(',
        '@',
        '.',
        '"b c"',
        '>=',
        '1.5e3',
        '&&',
        '@',
        '!=',
        `'x\\'y'`,
        ')',
        '|',
        'pad',
        '(',
        '-',
        '2',
        ')',
      ],
    ]);
  });

  test('joined together are the text again, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(storable(fc.string({ unit: 'binary' })), { minLength: 1, maxLength: 100 }), async (texts) => {
        const { rows } = await db.admin.query(
          `select t.text from unnest($1::text[]) as t (text) where array_to_string(engine.tokenize(t.text), '') <> t.text`,
          [texts],
        );
        expect(rows).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });
});

describe('a template', () => {
  test.each([
    ['plain', [['plain', null]]],
    ['', []],
    ['{{ a }}', [[null, ' a ']]],
    [
      'x{{a}}{{b}}y',
      [
        ['x', null],
        [null, 'a'],
        [null, 'b'],
        ['y', null],
      ],
    ],
    [
      'a \\{{ b }} {{c}}',
      [
        ['a {{ b }} ', null],
        [null, 'c'],
      ],
    ],
    ['{{ "}}" }}', [[null, ' "}}" ']]],
    [`{{ '}}\\'}}' }}`, [[null, ` '}}\\'}}' `]]],
    ['{{ $.a ? (@ == {1}) }}', [[null, ' $.a ? (@ == {1}) ']]],
    ['}} {', [['}} {', null]]],
  ])('%j is cut at its expressions', async (text, pieces) => {
    expect((await split(text)).map(({ literal, expression }) => [literal, expression])).toEqual(pieces);
  });

  test('says where an expression begins', async () => {
    expect((await split('ä \\{{ {{ a }}')).map(({ start_at }) => start_at)[1]).toBe(9);
  });

  test.each([
    ['{{ a', /}} is missing/],
    ['{{ "a }}', /}} is missing, or the quote/],
    [`{{ ${'a'.repeat(5000)} }}`, /at most 4,096 characters/],
    ['{{a}}'.repeat(1001), /at most 1,000 expressions/],
  ])('%.20s is refused', async (text, error) => {
    expect((await split(text)).at(-1)?.error).toMatch(error);
  });

  test('without braces is one literal, and with escaped ones too', async () => {
    await fc.assert(
      fc.asyncProperty(storable(fc.string({ unit: 'binary' })), async (text) => {
        const plain = text.replaceAll('{{', '{').replace(/\\+$/, '');
        expect((await split(`${plain}\\{{ x }}`)).map(({ literal }) => literal)).toEqual([`${plain}{{ x }}`]);
      }),
      { numRuns: 50 },
    );
  });
});
