/** Text of a one-time token: a secret for the gateway, and the hash that pins its root for us. */
import { SallyportError } from '../errors.ts';

export interface ParsedEnrollmentToken {
  /** Lower-case hex SHA-256 of the root certificate's DER. */
  readonly rootThumbprint: string;
}

/** Exactly 32 octets in unpadded base64url: the last of 43 digits carries four bits. */
const octets32 = '[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]';
const tokenText = new RegExp(`^sallyport1\\.${octets32}\\.(${octets32})$`, 'u');

/** Parses `sallyport1.<secret>.<pin>`; surrounding white space of a pasted token is forgiven. */
export function parseEnrollmentToken(text: string): ParsedEnrollmentToken {
  const pin = tokenText.exec(text.trim())?.[1];
  if (pin === undefined) {
    throw new SallyportError('ERR_BRIDGE_ENROLLMENT', 'the token is not an enrollment token; paste all of the line that sallyport token create printed (sallyport1.….…)', { facts: { reason: 'ERR_TOKEN_INVALID' } });
  }
  return { rootThumbprint: Buffer.from(pin, 'base64url').toString('hex') };
}
