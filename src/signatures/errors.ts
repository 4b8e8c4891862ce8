/** Why a signature does not verify. What the caller of a webhook learns of it is decided by the intake. */
import { FlowgresError } from '../errors.ts';

/** The codes of a {@link SignatureError}, listed in docs/reference/errors.md. */
export type SignatureCode =
  /** A header of the scheme is missing. */
  | 'SIGNATURE_MISSING'
  /** A header of the scheme is not written as the scheme says. */
  | 'SIGNATURE_MALFORMED'
  /** The signed time is further from now than the tolerance. */
  | 'SIGNATURE_EXPIRED'
  /** No active secret made the signature, or it was made of other bytes. */
  | 'SIGNATURE_MISMATCH'
  /** A secret of the receiver is empty, or not written as the scheme says. */
  | 'SECRET_UNUSABLE';

/** A signature that does not verify. */
export class SignatureError extends FlowgresError {
  declare readonly code: SignatureCode;

  constructor(code: SignatureCode, message: string) {
    super(code, message);
    this.name = 'SignatureError';
  }
}
