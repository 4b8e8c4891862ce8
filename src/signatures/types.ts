/** What all schemes of signatures take and return. */
import type { IncomingHttpHeaders } from 'node:http';

/** A request as it came. */
export interface SignedRequest {
  headers: IncomingHttpHeaders;
  /** The bytes of the body, before any decoding. */
  body: Buffer;
  /** The time of the receiver, in milliseconds since 1970. */
  now: number;
}

/** Options that several schemes have. */
export interface VerifyOptions {
  /** How far the signed time may be from now, in seconds, either way. */
  toleranceSeconds?: number;
}

/** What a verified request says of itself. */
export interface Verified {
  /**
   * Equal for deliveries that are one: the sender's own id of the message, else the signature. Null when the
   * scheme has neither an id nor a time, so that two equal messages cannot be told from a replay.
   */
  deliveryId: string | null;
}

/**
 * Checks the signature of a request against the active secrets, in constant time.
 *
 * @throws SignatureError
 */
export type Verify<Options extends VerifyOptions = VerifyOptions> = (
  request: SignedRequest,
  secrets: readonly string[],
  options: Options,
) => Verified;
