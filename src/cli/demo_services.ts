/** Demo services that the example workflows call, under `/demo/`: a customer register and a warehouse. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';

const STOCK: Record<string, number> = { 'KB-01': 12, 'MS-02': 40 };

/** Returns the handler of `POST /demo/customers` and `GET /demo/stock/<sku>`. */
export function createDemo(): (request: IncomingMessage, response: ServerResponse) => Promise<void> {
  // Answers by Idempotency-Key: a repeated request gets the first answer, as Flowgres expects of services.
  const customers = new Map<string, { id: string }>();
  return async (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0]!;
    if (path === '/demo/customers' && request.method === 'POST') {
      const customer = (await json(request)) as Record<string, unknown>;
      const key = String(request.headers['idempotency-key'] ?? customers.size);
      const known = customers.get(key) ?? { id: `C-${1_000 + customers.size}`, ...customer };
      customers.set(key, known);
      answer(response, 201, known);
    } else if (path.startsWith('/demo/stock/') && request.method === 'GET') {
      const sku = decodeURIComponent(path.slice('/demo/stock/'.length));
      const available = STOCK[sku];
      answer(response, available === undefined ? 404 : 200, available === undefined ? { error: `no item ${sku}` } : { sku, available });
    } else {
      answer(response, 404, { error: 'not found' });
    }
  };
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
