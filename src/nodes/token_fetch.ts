/** The fetch by which tokens of OAuth2 are asked for: public addresses only, no redirects, limited in time and size. */
import { fetch } from 'undici';
import { LIMITS } from '../constants.ts';
import { checkUrl, createGuardedAgent, parseAllowList } from './ssrf.ts';
import type { NodeConfig } from './types.ts';
import type { TokenFetch } from '../vault/oauth2.ts';

/** Returns a fetch with the guard of httpRequest. */
export function createTokenFetch({ httpAllow, dnsServers }: NodeConfig): TokenFetch {
  const allow = parseAllowList(httpAllow);
  const dispatcher = createGuardedAgent(allow, dnsServers);
  return async (url, { method, headers, body }) => {
    const response = await fetch(checkUrl(url, allow).href, {
      method,
      headers,
      body,
      dispatcher,
      redirect: 'manual',
      signal: AbortSignal.timeout(LIMITS.vault.tokenRequestMs),
    });
    const content = await readLimited(response.body, LIMITS.vault.maxTokenAnswerBytes);
    return new Response(response.status === 204 ? null : content, { status: response.status, headers: [...response.headers] });
  };
}

async function readLimited(body: AsyncIterable<Uint8Array> | null, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > limit) throw new Error(`the answer is larger than ${limit / 1024} KiB`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}
