/** Base64 as EST carries it: RFC 8951 §3.1 takes RFC 4648 §4, with white space tolerated and none demanded. */
import { CaError } from '../errors.ts';

/** `ERR_CSR_INVALID` for anything but one base64 text, complete and canonical. Other headers than the media type say nothing (RFC 8951 §3). */
export const decodeBase64Body = (body: Uint8Array): Uint8Array => {
  const text = Buffer.from(body).toString('latin1').replace(/[\r\n\t ]+/g, '');
  if (text === '') throw malformed('it is empty');
  if (text.startsWith('-----')) throw malformed('it is PEM; leave out the first and the last line');
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) throw malformed('it is not base64');
  const octets = Buffer.from(text, 'base64');
  // RFC 4648 §3.5: no stray bits, so that one value has one text.
  if (octets.toString('base64') !== text) throw malformed('its base64 is not canonical');
  return new Uint8Array(octets);
};

/** In lines that every decoder takes. */
export const encodeBase64Body = (octets: Uint8Array): string => `${(Buffer.from(octets).toString('base64').match(/.{1,64}/g) ?? []).join('\n')}\n`;

const malformed = (what: string): CaError => new CaError('ERR_CSR_INVALID', `the request body is unusable: ${what}; send the base64 of the DER of a request`);
