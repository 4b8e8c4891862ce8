/** A name server on a free port, for tests of requests to host names. */
import { type RemoteInfo, type Socket, createSocket } from 'node:dgram';
import type { AddressInfo } from 'node:net';
import { isIP } from 'node:net';
import { type Answer, decode, encode } from 'dns-packet';

/** A running name server. */
export interface NameServer {
  /** `address:port`, for the setting dnsServers. */
  address: string;
  /** The addresses of each name, called for each query. A missing name does not exist; null is not answered. */
  names: Record<string, (() => string[]) | null>;
  /** The queries so far, such as `A example.org`. */
  questions: string[];
  close(): void;
}

/** Starts a name server; it stops with the test. */
export async function startNameServer(names: NameServer['names'] = {}): Promise<NameServer> {
  const socket = createSocket('udp4');
  const server: NameServer = { address: '', names, questions: [], close: () => socket.close() };
  socket.on('message', (message, from) => reply(server, socket, message, from));
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  server.address = `127.0.0.1:${(socket.address() as AddressInfo).port}`;
  return server;
}

function reply(server: NameServer, socket: Socket, message: Buffer, from: RemoteInfo): void {
  const { id, questions = [] } = decode(message);
  const [question] = questions;
  if (!question) return;
  server.questions.push(`${question.type} ${question.name}`);
  const addresses = server.names[question.name];
  if (addresses === null) return;
  const family = question.type === 'AAAA' ? 6 : 4;
  const answers = (addresses?.() ?? [])
    .filter((address) => isIP(address) === family)
    .map((data) => ({ type: question.type, name: question.name, ttl: 0, data }) as Answer);
  // Recursion available; NXDOMAIN for an unknown name.
  const flags = 0x0180 | (addresses ? 0 : 3);
  socket.send(encode({ type: 'response', id: id ?? 0, flags, questions, answers }), from.port, from.address);
}
