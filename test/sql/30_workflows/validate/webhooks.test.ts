import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../../../helpers/database.ts';
import { createOrganization } from '../../../helpers/factory.ts';

const db = await createTestDatabase();
const organization = await createOrganization(db);

const problems = async (properties: Record<string, unknown>, credentials: Record<string, string> | null = { auth: 'x' }) => {
  const node = { id: 'hook', type: 'webhookTrigger', properties: { path: '/x', ...properties }, ...(credentials ? { credentials } : {}) };
  const { rows } = await organization.user.query<{ pointer: string; code: string; message: string }>(
    `select pointer, code, message from validate_workflow($1) where pointer like '/nodes/0%' and code not like '%CREDENTIAL%'`,
    [JSON.stringify({ nodes: [node], connections: [] })],
  );
  return rows;
};
const hmac = (signature: Record<string, unknown>) => ({ authentication: 'hmac', signature });

describe('the properties of a webhook trigger', () => {
  test.each([
    [hmac({ scheme: 'standard', toleranceSeconds: 60 })],
    [hmac({ scheme: 'github' })],
    [hmac({ scheme: 'generic', header: 'X-Sign', timestampHeader: 'X-Time', content: '{timestamp}:{body}', toleranceSeconds: 10 })],
    [{ allowCidrs: ['192.0.2.0/24', '2001:db8::/32', '192.0.2.7'], dedupe: '$.input.body.id' }],
    [{ authentication: 'basic' }],
  ])('may be %j', async (properties) => {
    expect(await problems(properties)).toEqual([]);
  });

  test.each([
    [{ authentication: 'hmac' }, 'belong together'],
    [{ signature: { scheme: 'github' } }, 'belong together'],
    [{ authentication: 'basic', signature: { scheme: 'github' } }, 'belong together'],
    [hmac({ scheme: 'github', header: 'X-Sign' }), 'are of the scheme generic'],
    [hmac({ scheme: 'github', toleranceSeconds: 10 }), 'a signed time'],
    [hmac({ scheme: 'generic' }), 'needs header'],
    [hmac({ scheme: 'generic', header: 'X-Sign', content: 'body' }), 'content has {body} once'],
    [hmac({ scheme: 'generic', header: 'X-Sign', content: '{body}{body}' }), 'content has {body} once'],
    [hmac({ scheme: 'generic', header: 'X-Sign', content: '{timestamp}{body}' }), 'timestampHeader is needed'],
    [{ allowCidrs: ['192.0.2.0/24', 'example.com'] }, 'is not a network'],
    [{ dedupe: '$.input.body.id', dedupeHeader: 'X-Id' }, 'exclude each other'],
  ])('may not be %j', async (properties, message) => {
    expect(await problems(properties)).toEqual([
      { pointer: '/nodes/0/properties', code: 'INVALID_PROPERTY', message: expect.stringContaining(message) },
    ]);
  });

  test.each(['$.prev.id', '$.input.body.id | lower', '$.input.body.**.id', '$.input.('])('may not dedupe by %s', async (dedupe) => {
    expect(await problems({ dedupe })).toEqual([
      expect.objectContaining({ pointer: '/nodes/0/properties/dedupe', code: 'INVALID_EXPRESSION' }),
    ]);
  });

  test('name a credential where requests are authenticated', async () => {
    expect(await problems({ authentication: 'basic' }, null)).toEqual([
      { pointer: '/nodes/0/credentials', code: 'INVALID_PROPERTY', message: expect.stringContaining('by a credential') },
    ]);
  });
});
