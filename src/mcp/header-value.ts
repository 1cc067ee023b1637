/**
 * Values of `Mcp-Name` and `Mcp-Param-*` headers (revision 2026-07-28, Streamable HTTP): visible ASCII as
 * it is, everything else as `=?base64?…?=` of its UTF-8 octets.
 */
import { isUtf8 } from 'node:buffer';

const prefix = '=?base64?';
const suffix = '?=';
/** RFC 4648 §4, padding required. */
const canonicalBase64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const plain = /^[\t\x20-\x7e]*$/;

/** What a header value stands for; undefined when it is not one that may be sent. */
export const decodeHeaderValue = (given: string): string | undefined => {
  // RFC 9110 §5.5: whitespace around a field value is no part of it.
  const value = given.replace(/^[\t ]+|[\t ]+$/g, '');
  if (!(value.startsWith(prefix) && value.endsWith(suffix) && value.length >= prefix.length + suffix.length)) return plain.test(value) ? value : undefined;
  const base64 = value.slice(prefix.length, -suffix.length);
  if (!canonicalBase64.test(base64)) return undefined;
  const bytes = Buffer.from(base64, 'base64');
  // The last letter may hold bits that decoding drops: then two spellings would stand for one value.
  return bytes.toString('base64') === base64 && isUtf8(bytes) ? bytes.toString('utf8') : undefined;
};

/** The header value that stands for a text. */
export const encodeHeaderValue = (text: string): string => {
  const safe = text !== '' && plain.test(text) && text === text.trim() && !(text.startsWith(prefix) && text.endsWith(suffix));
  return safe ? text : `${prefix}${Buffer.from(text, 'utf8').toString('base64')}${suffix}`;
};
