/**
 * `Client-Cert` and `Client-Cert-Chain` (RFC 9440): the certificate that a TLS-terminating proxy has
 * verified. Read by the letter and nothing beside it: whom these headers may be believed from is
 * decided elsewhere.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { SallyportError } from '../errors.ts';

/** DER. */
export interface ForwardedCertificate {
  readonly certificate: Uint8Array;
  readonly chain: readonly Uint8Array[];
}

export const clientCert = 'client-cert';
export const clientCertChain = 'client-cert-chain';

/** Certificates of ML-DSA-87 keys and signatures are 8 KiB. */
const MAX_TEXT = 16_384;
const MAX_CHAIN = 8;

export const hasClientCert = (headers: IncomingHttpHeaders): boolean => headers[clientCert] !== undefined || headers[clientCertChain] !== undefined;

/** Undefined without either header. @throws SallyportError `ERR_HTTP_CLIENT_CERT` */
export const readClientCert = (headers: IncomingHttpHeaders): ForwardedCertificate | undefined => {
  const item = single(headers[clientCert], clientCert);
  const list = single(headers[clientCertChain], clientCertChain);
  if (item === undefined) {
    // §2.3: the chain stands beside the certificate, never alone.
    if (list !== undefined) throw malformed(clientCertChain, 'stands alone, without Client-Cert');
    return undefined;
  }
  return { certificate: octetsIn(item, clientCert), chain: list === undefined ? [] : membersOf(list).map((member) => octetsIn(member, clientCertChain)) };
};

/** Node joins repeated headers with a comma, which an item does not hold and a list may (RFC 8941 §4.2). */
const single = (value: string | string[] | undefined, header: string): string | undefined => {
  if (value === undefined) return undefined;
  if (typeof value !== 'string') throw malformed(header, 'appears more than once');
  if (value.length > MAX_TEXT * MAX_CHAIN) throw malformed(header, 'is too long');
  return value;
};

const membersOf = (list: string): readonly string[] => {
  const members = list.split(',');
  if (members.length > MAX_CHAIN) throw malformed(clientCertChain, `holds more than ${MAX_CHAIN} certificates`);
  // RFC 8941 §3.1: optional white space around the commas, none at the ends that Node has not cut.
  return members.map((member) => member.replace(/^[\t ]+|[\t ]+$/gu, ''));
};

/**
 * RFC 8941 §3.3.5: a byte sequence. Stricter than §4.2.7: base64 in its one canonical spelling, and
 * no parameters, to which RFC 9440 gives no meaning.
 */
const octetsIn = (item: string, header: string): Uint8Array => {
  if (item.length > MAX_TEXT) throw malformed(header, 'is too long');
  const [, base64] = /^:([A-Za-z0-9+/]+={0,2}):$/u.exec(item) ?? [];
  if (base64 === undefined) throw malformed(header, 'is not a byte sequence such as :MIIB…:');
  const octets = Buffer.from(base64, 'base64');
  if (octets.toString('base64') !== base64) throw malformed(header, 'is not base64 in its canonical form');
  return Uint8Array.from(octets);
};

const malformed = (header: string, reason: string): SallyportError =>
  new SallyportError('ERR_HTTP_CLIENT_CERT', `the ${header} header cannot be read: it ${reason}`, { facts: { header, reason } });
