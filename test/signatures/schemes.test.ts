/** Signatures made by the packages of those who define the schemes, and everything that must not pass. */
import { createHmac } from 'node:crypto';
import { sign as signGithub } from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';
import { describe, expect, test } from 'vitest';
import { SignatureError } from '../../src/signatures/errors.ts';
import { type SignatureOptions, verifySignature } from '../../src/signatures/schemes.ts';
import { signStandard } from '../../src/signatures/standard.ts';

type Headers = Record<string, string>;

const NOW = 1_760_000_000_000;
const SECONDS = String(NOW / 1_000);
/** Bytes whose meaning depends on who decodes them: an umlaut, an escape, spaces, a number with many digits. */
const BODY = '{ "name": "Zo\u00eb \\u00eb", "amount": 12345678901234567890, "list": [1,  2] }';
const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

const stripe = new Stripe('sk_test_0');
const hmac = (algorithm: string, secret: string, text: string, encoding: 'hex' | 'base64' | 'base64url') =>
  createHmac(algorithm, secret).update(text).digest(encoding);

/** A scheme, and how its sender signs. */
interface Case {
  options: SignatureOptions;
  sign(body: string, secret: string, seconds?: number): Headers | Promise<Headers>;
  /** Whether the time is signed. */
  hasTime: boolean;
}
const generic = { scheme: 'generic', header: 'X-Signature', algorithm: 'sha512', encoding: 'base64url', prefix: 'v1:' } as const;
const CASES: Record<string, Case> = {
  standard: {
    options: { scheme: 'standard' },
    sign: (body, secret, seconds = NOW / 1_000) => ({
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(seconds),
      'webhook-signature': new Webhook(secret).sign('msg_1', new Date(seconds * 1_000), body),
    }),
    hasTime: true,
  },
  github: {
    options: { scheme: 'github' },
    sign: async (body, secret) => ({ 'x-hub-signature-256': await signGithub(secret, body), 'x-github-delivery': 'msg_1' }),
    hasTime: false,
  },
  stripe: {
    options: { scheme: 'stripe' },
    sign: (payload, secret, timestamp = NOW / 1_000) => ({
      'stripe-signature': stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp }),
    }),
    hasTime: true,
  },
  slack: {
    options: { scheme: 'slack' },
    sign: (body, secret, seconds = NOW / 1_000) => ({
      'x-slack-request-timestamp': String(seconds),
      'x-slack-signature': `v0=${hmac('sha256', secret, `v0:${seconds}:${body}`, 'hex')}`,
    }),
    hasTime: true,
  },
  shopify: {
    options: { scheme: 'shopify' },
    sign: (body, secret) => ({ 'x-shopify-hmac-sha256': hmac('sha256', secret, body, 'base64'), 'x-shopify-webhook-id': 'msg_1' }),
    hasTime: false,
  },
  'generic, of the body': {
    options: generic,
    sign: (body, secret) => ({ 'x-signature': `v1:${hmac('sha512', secret, body, 'base64url')}` }),
    hasTime: false,
  },
  'generic, with a time': {
    options: { scheme: 'generic', header: 'X-Signature', timestampHeader: 'X-Time', content: '{timestamp}|{body}|end' },
    sign: (body, secret, seconds = NOW / 1_000) => ({
      'x-time': String(seconds),
      'x-signature': hmac('sha256', secret, `${seconds}|${body}|end`, 'hex'),
    }),
    hasTime: true,
  },
};

const verify = (options: SignatureOptions, headers: Headers, body: string | Buffer = BODY, secrets = [SECRET], now = NOW) =>
  verifySignature({ headers, body: Buffer.from(body), now }, secrets, options);
function codeOf(check: () => unknown): string {
  try {
    check();
  } catch (error) {
    if (error instanceof SignatureError) return error.code;
    throw error;
  }
  return 'verified';
}

describe.each(Object.entries(CASES))('%s', (_name, { options, sign, hasTime }) => {
  const other = SECRET.replace('M', 'N');

  test('verifies what its sender signs, whatever the text, and refuses a request without signature', async () => {
    for (const body of [BODY, '0', '\u{1f600}']) {
      const headers = await sign(body, SECRET);
      expect(codeOf(() => verify(options, headers, body))).toBe('verified');
      expect(codeOf(() => verify(options, {}, body))).toBe('SIGNATURE_MISSING');
    }
  });

  test('verifies by any of three active secrets, and refuses a secret that is not active', async () => {
    const headers = await sign(BODY, SECRET);
    expect(codeOf(() => verify(options, headers, BODY, [other, other, SECRET]))).toBe('verified');
    expect(codeOf(() => verify(options, headers, BODY, [other]))).toBe('SIGNATURE_MISMATCH');
  });

  test.each([
    ['serialised again', JSON.stringify(JSON.parse(BODY))],
    ['in another character set', Buffer.from(BODY, 'latin1')],
    ['in UTF-16', Buffer.from(BODY, 'utf16le')],
    ['with a byte order mark', `\ufeff${BODY}`],
    ['with a line end', `${BODY}\n`],
    ['in another normal form', BODY.normalize('NFD')],
  ])('refuses the same body %s', async (_how, body) => {
    const headers = await sign(BODY, SECRET);
    expect(codeOf(() => verify(options, headers, body))).toBe('SIGNATURE_MISMATCH');
  });

  test.each([[[]], [['']], [[SECRET, '']], [[SECRET, SECRET, SECRET, SECRET]]])('cannot use the secrets %j', async (secrets) => {
    const headers = await sign(BODY, SECRET);
    expect(codeOf(() => verify(options, headers, BODY, secrets))).toBe('SECRET_UNUSABLE');
  });

  test('refuses a signature that is cut, longer, or of another kind', async () => {
    const headers = await sign(BODY, SECRET);
    const [name, value] = Object.entries(headers).find(([header]) => /sign|hmac/.test(header))!;
    for (const wrong of [value.slice(0, -4), `${value}AAAA`, 'x', '=', `${value},${value}`, '\u00ff']) {
      expect(
        codeOf(() => verify(options, { ...headers, [name]: wrong })),
        wrong,
      ).toMatch(/^SIGNATURE_(?:MALFORMED|MISMATCH)$/);
    }
  });

  test.runIf(hasTime)('takes a time up to 300 s away, either way, and no other', async () => {
    for (const seconds of [-300, 300]) {
      const headers = await sign(BODY, SECRET, NOW / 1_000 + seconds);
      expect(codeOf(() => verify(options, headers))).toBe('verified');
    }
    for (const seconds of [-301, 301]) {
      const headers = await sign(BODY, SECRET, NOW / 1_000 + seconds);
      expect(codeOf(() => verify(options, headers))).toBe('SIGNATURE_EXPIRED');
      expect(codeOf(() => verify({ ...options, toleranceSeconds: 301 } as SignatureOptions, headers))).toBe('verified');
    }
  });

  test('gives the same id to a replay, and another one to another message', async () => {
    const headers = await sign(BODY, SECRET);
    const { deliveryId } = verify(options, headers);
    expect(verify(options, headers).deliveryId).toBe(deliveryId);
    if (!hasTime) return;
    const [later] = [await sign(BODY, SECRET, NOW / 1_000 + 1)];
    if (options.scheme === 'standard') expect(verify(options, later).deliveryId).toBe('msg_1');
    else expect(verify(options, later).deliveryId).not.toBe(deliveryId);
  });
});

describe('standard', () => {
  const headers = CASES['standard']!.sign(BODY, SECRET) as Headers;
  const check = (changes: Headers) => codeOf(() => verify({ scheme: 'standard' }, { ...headers, ...changes }));
  const right = headers['webhook-signature']!;

  test.each(['1e9', 'NaN', '-1', `${SECONDS}.`, ` ${SECONDS}`, '0x10', ''])('refuses the time %j', (timestamp) => {
    expect(check({ 'webhook-timestamp': timestamp })).toMatch(/^SIGNATURE_M(?:ALFORMED|ISSING)$/);
  });

  test.each(['a.b', 'x'.repeat(257), 'a b', '\u00e9'])('refuses the id %j', (id) => {
    expect(check({ 'webhook-id': id })).toBe('SIGNATURE_MALFORMED');
  });

  test('takes one right signature among nine of other secrets, and refuses eleven', () => {
    const wrong = CASES['standard']!.sign('other', SECRET) as Headers;
    const nine = Array.from({ length: 9 }, () => wrong['webhook-signature']).join(' ');
    expect(check({ 'webhook-signature': `${nine} ${right}` })).toBe('verified');
    expect(check({ 'webhook-signature': `${nine} ${right} ${right}` })).toBe('SIGNATURE_MALFORMED');
  });

  test('does not take an asymmetric signature for one of a secret', () => {
    expect(check({ 'webhook-signature': right.replace('v1,', 'v1a,') })).toBe('SIGNATURE_MISMATCH');
  });

  test('takes a secret with and without whsec_, and no other text', () => {
    const by = (secret: string) => codeOf(() => verify({ scheme: 'standard' }, headers, BODY, [secret]));
    expect(by(SECRET.slice('whsec_'.length))).toBe('verified');
    expect(by('no base64!')).toBe('SECRET_UNUSABLE');
  });

  test('signs what the official package verifies, by each active secret', () => {
    const second = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
    const signed = signStandard({ id: 'msg_2', now: Date.now(), body: BODY }, [SECRET, second]);
    for (const secret of [SECRET, second]) expect(() => new Webhook(secret).verify(BODY, signed)).not.toThrow();
    expect(() => new Webhook(SECRET).verify(`${BODY} `, signed)).toThrow();
  });
});

test('the examples that GitHub and Slack publish verify', () => {
  const github = { 'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17' };
  expect(codeOf(() => verify({ scheme: 'github' }, github, 'Hello, World!', ["It's a Secret to Everybody"]))).toBe('verified');
  const slack = {
    'x-slack-request-timestamp': '1531420618',
    'x-slack-signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
  };
  const body =
    'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c';
  const now = 1_531_420_618_000;
  expect(codeOf(() => verify({ scheme: 'slack' }, slack, body, ['8f742231b10e8888abcd99yyyzzz85a5'], now))).toBe('verified');
});

describe('stripe', () => {
  test.each(['', 't=1', 'v1=ab', 't=1,t=2,v1=ab', 't=,v1=ab', 't=1,v1=', 't=1;v1=ab', `t=${SECONDS},v1=zz`])(
    'refuses the header %j',
    (header) => {
      expect(codeOf(() => verify({ scheme: 'stripe' }, { 'stripe-signature': header }))).toMatch(/^SIGNATURE_M(?:ALFORMED|ISSING)$/);
    },
  );

  test('takes no signature of the scheme v0, which anybody can make', () => {
    const header = CASES['stripe']!.sign(BODY, SECRET) as Headers;
    const old = header['stripe-signature']!.replace('v1=', 'v0=');
    expect(codeOf(() => verify({ scheme: 'stripe' }, { 'stripe-signature': old }))).toBe('SIGNATURE_MALFORMED');
  });
});
