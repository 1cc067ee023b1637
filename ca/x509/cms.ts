/** The one message of CMS (RFC 5652) written here: SignedData without signer, which carries certificates. */
import { compareBytes, contextTag, element, explicit, integer, oid, sequence, set } from './der.ts';

const SIGNED_DATA = '1.2.840.113549.1.7.2';
const DATA = '1.2.840.113549.1.7.1';

/** A certs-only message (RFC 8551 §3.8, RFC 5272 §4.1) of complete DER certificates. Their order says nothing: it is that of a SET. */
export const encodeCertsOnly = (certificates: readonly Uint8Array[]): Uint8Array =>
  // RFC 5652 §5.1: version 1, no digest algorithms, content of type data that is absent, certificates, no signers.
  sequence(oid(SIGNED_DATA), explicit(0, sequence(integer(1), set(), sequence(oid(DATA)), element(contextTag(0), ...certificates.toSorted(compareBytes)), set())));
