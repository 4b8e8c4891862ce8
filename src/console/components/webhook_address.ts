/** Addresses of webhooks. */
import { BASE } from '../api/client.ts';

/** Returns the whole address of a webhook, and a command for a shell that calls it. */
export function webhookAddress(key: string, path: string, methods: readonly string[]): { url: string; curl: string } {
  const url = new URL(`${BASE}hooks/${key}${path.startsWith('/') ? path : `/${path}`}`, location.href).href;
  const method = methods[0] ?? 'POST';
  const body = method === 'GET' || method === 'HEAD' ? '' : ` -H 'content-type: application/json' -d '{}'`;
  return { url, curl: `curl -sS -X ${method} '${url}'${body}` };
}
