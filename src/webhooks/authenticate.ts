/** Who may call a webhook: addresses, passwords, headers, tokens and signatures. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';
import { z } from 'zod';
import { FlowgresError } from '../errors.ts';
import { unusable } from '../signatures/checks.ts';
import { SignatureError } from '../signatures/errors.ts';
import { verifySignature } from '../signatures/schemes.ts';
import { networkOfAddress } from '../http/client.ts';
import type { BearerTokens } from './bearer_tokens.ts';
import type { CredentialCache, OpenedCredential } from './credential_cache.ts';
import type { Trigger } from './trigger.ts';
import { WrongAttempts } from './wrong_attempts.ts';

const basicShape = z.object({ username: z.string(), password: z.string().min(1) });
const bearerShape = z.object({ token: z.string().min(1) });
const headerShape = z.object({
  in: z.literal('header').default('header'),
  name: z.string(),
  prefix: z.string().default(''),
  value: z.string().min(1),
});
const hmacShape = z.object({ secrets: z.array(z.string()) });

/** The value of `www-authenticate` with 401. */
const CHALLENGES: Partial<Record<Trigger['authentication'], string>> = {
  basic: 'Basic realm="webhook", charset="UTF-8"',
  jwt: 'Bearer',
};

/** Options of {@link Gate}. */
export interface GateOptions {
  credentials: CredentialCache;
  tokens: BearerTokens;
  /** The time in milliseconds. */
  now: () => number;
}

/** A request at a webhook. */
export interface Caller {
  request: IncomingMessage;
  /** The client's address, with IPv4 as such. */
  address: string;
}

/** Checks requests before they start runs. */
export class Gate {
  readonly #options: GateOptions;
  readonly #wrong: WrongAttempts;

  constructor(options: GateOptions) {
    this.#options = options;
    this.#wrong = new WrongAttempts(options.now);
  }

  /** Throws FORBIDDEN unless the address is in the networks that the trigger names. Call it before reading the body. */
  checkAddress({ allowCidrs }: Trigger, address: string): void {
    if (allowCidrs.length && !allowCidrs.some((network) => isIn(address, network))) {
      throw new FlowgresError('FORBIDDEN', 'This webhook does not take requests from this address.');
    }
  }

  /**
   * Checks what the headers alone prove: a password, a key or a token. Call it before reading the body. Refuses
   * further attempts of a network unchecked after too many wrong ones, since a password could be guessed.
   *
   * @throws FlowgresError {@link Refusal}, RATE_LIMITED, UNAVAILABLE
   */
  async checkHeaders(trigger: Trigger, { request, address }: Caller): Promise<void> {
    const { authentication } = trigger;
    if (authentication === 'none' || authentication === 'hmac') return;
    const key = bucketOf(trigger, address);
    this.#wrong.refuseGuessing(key);
    await this.#refusing(key, authentication, async () => {
      const credential = await this.#credentialOf(trigger);
      const { headers } = request;
      if (authentication === 'jwt') {
        if (credential.type !== 'jwt') throw wrongType(credential, 'jwt');
        await this.#options.tokens.check(headers.authorization, credential.data, this.#options.now());
      } else {
        const { name, value } = wantedHeader(authentication, credential);
        const given = headers[name];
        if (given === undefined) throw new SignatureError('SIGNATURE_MISSING', `The header ${name} is missing.`);
        if (!isSame(String(given), value)) throw new SignatureError('SIGNATURE_MISMATCH', `The header ${name} has another value.`);
      }
    });
  }

  /**
   * Checks the signature. Returns the id of the delivery, if the scheme has one. A right signature always passes,
   * so that nobody can shut out a sender by wrong ones; these are limited only in what they are answered.
   *
   * @throws FlowgresError {@link Refusal}, RATE_LIMITED, UNAVAILABLE
   */
  async checkBody(trigger: Trigger, { request, address }: Caller, body: Buffer): Promise<string | null> {
    const { signature } = trigger;
    if (!signature) return null;
    return this.#refusing(bucketOf(trigger, address), 'hmac', async () => {
      const credential = await this.#credentialOf(trigger);
      const parsed = hmacShape.safeParse(credential.data);
      if (credential.type !== 'hmac' || !parsed.success) throw wrongType(credential, 'hmac');
      return verifySignature({ headers: request.headers, body, now: this.#options.now() }, parsed.data.secrets, signature).deliveryId;
    });
  }

  async #credentialOf({ organizationId, credential }: Trigger): Promise<OpenedCredential> {
    if (credential === null) throw unusable('The trigger names no credential.');
    return this.#options.credentials.open(organizationId, credential);
  }

  async #refusing<Result>(key: string, authentication: Trigger['authentication'], check: () => Promise<Result>): Promise<Result> {
    try {
      return await check();
    } catch (error) {
      if (!(error instanceof SignatureError) || error.code === 'SECRET_UNUSABLE') throw unavailable(error);
      this.#wrong.count(key);
      throw new Refusal(error, CHALLENGES[authentication]);
    }
  }
}

/** A request that is not authenticated: 400 for what is missing or malformed, else 401 without a reason. */
export class Refusal extends FlowgresError {
  /** What the list of deliveries says. */
  readonly reason: string;
  readonly challenge: string | undefined;

  constructor(error: SignatureError, challenge: string | undefined) {
    const isOfForm = challenge === undefined && (error.code === 'SIGNATURE_MISSING' || error.code === 'SIGNATURE_MALFORMED');
    super(isOfForm ? error.code : 'UNAUTHENTICATED', isOfForm ? error.message : 'The request is not authenticated.', { cause: error });
    this.reason = error.code;
    this.challenge = challenge;
  }
}

/** A webhook that cannot check requests: its credential is gone or of no use, or the keys of the vault are missing. */
export class GateUnavailable extends FlowgresError {
  /** What the list of deliveries says. */
  readonly reason: string;

  constructor(cause: unknown) {
    super('UNAVAILABLE', 'This webhook cannot check requests at present.', { hint: 'Try again later.', cause });
    this.reason = cause instanceof FlowgresError ? cause.code : 'UNAVAILABLE';
  }
}

function unavailable(error: unknown): FlowgresError {
  // Errors of limits keep their status.
  if (error instanceof FlowgresError && error.code === 'RATE_LIMITED') return error;
  return new GateUnavailable(error);
}

function wantedHeader(authentication: 'basic' | 'header', credential: OpenedCredential): { name: string; value: string } {
  const { type, data } = credential;
  if (authentication === 'basic') {
    const basic = type === 'basic' ? basicShape.safeParse(data).data : undefined;
    if (!basic) throw wrongType(credential, 'basic');
    return { name: 'authorization', value: `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString('base64')}` };
  }
  const bearer = type === 'bearer' ? bearerShape.safeParse(data).data : undefined;
  if (bearer) return { name: 'authorization', value: `Bearer ${bearer.token}` };
  const key = type === 'apiKey' ? headerShape.safeParse(data).data : undefined;
  if (!key) throw wrongType(credential, 'bearer, or apiKey in a header');
  return { name: key.name.toLowerCase(), value: `${key.prefix}${key.value}` };
}

function wrongType({ type }: OpenedCredential, wanted: string): SignatureError {
  return unusable(`The credential is of type ${type}; the trigger needs one of type ${wanted}.`);
}

function bucketOf({ organizationId, workflowId, node }: Trigger, address: string): string {
  return `${organizationId} ${workflowId} ${node} ${networkOfAddress(address)}`;
}

/** Compares texts in a time that does not depend on where they differ. */
function isSame(given: string, wanted: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(wanted));
}

/** Whether an address is in a network, such as 192.0.2.0/24, or is the one that is named. */
export function isIn(address: string, network: string): boolean {
  if (!ipaddr.isValid(address)) return false;
  const parsed = ipaddr.process(address);
  const [base = '', length] = network.split('/');
  if (!ipaddr.isValid(base)) return false;
  const first = ipaddr.process(base);
  if (first.kind() !== parsed.kind()) return false;
  const bits = length === undefined ? (first.kind() === 'ipv4' ? 32 : 128) : Number(length);
  return parsed.match(first, bits);
}
