/** GeneralName and GeneralNames (RFC 5280 §4.2.1.6). */
import { isIP } from 'node:net';
import { CaError } from '../errors.ts';
import { DerReader, TAG, contextTag, decodeAscii, element, ia5String, invalid, sequence } from './der.ts';
import { parseName } from './name.ts';

export interface GeneralNames {
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly emails: readonly string[];
  /** Canonical text: dotted decimal, or RFC 5952. */
  readonly ipAddresses: readonly string[];
  /** Names of the other kinds, complete DER: otherName, directoryName, registeredID and so on. */
  readonly others: readonly Uint8Array[];
}

export type GeneralNamesInput = Partial<Pick<GeneralNames, 'uris' | 'dnsNames' | 'emails' | 'ipAddresses'>>;

/** [6], [2], [1], [7] and [4] of the CHOICE. */
const URI = contextTag(6, 'primitive');
const DNS = contextTag(2, 'primitive');
const EMAIL = contextTag(1, 'primitive');
const IP = contextTag(7, 'primitive');
const DIRECTORY = contextTag(4);
const OTHERS = [contextTag(0), contextTag(3), DIRECTORY, contextTag(5), contextTag(8, 'primitive')];

const MAX_NAMES = 256;
const MAX_NAME_LENGTH = 2048;

export function encodeGeneralNames(names: GeneralNamesInput): Uint8Array {
  return sequence(
    ...(names.uris ?? []).map(encodeUri),
    ...(names.dnsNames ?? []).map((name) => text(DNS, name)),
    ...(names.emails ?? []).map((name) => text(EMAIL, name)),
    ...(names.ipAddresses ?? []).map((address) => element(IP, ipOctets(address))),
  );
}

export function encodeUri(uri: string): Uint8Array {
  return text(URI, uri);
}

/** Reads names to the end of the reader. RFC 5280: SIZE (1..MAX). */
export function readGeneralNames(reader: DerReader): GeneralNames {
  const found = { uris: new Array<string>(), dnsNames: new Array<string>(), emails: new Array<string>(), ipAddresses: new Array<string>(), others: new Array<Uint8Array>() };
  if (reader.done) throw invalid('empty list of names', reader.offset);
  for (let count = 0; !reader.done; count++) {
    if (count === MAX_NAMES) throw invalid('more names than the limit', reader.offset);
    const at = reader.offset;
    switch (reader.peek()) {
      case URI:
        found.uris.push(readText(reader, URI));
        break;
      case DNS:
        found.dnsNames.push(readText(reader, DNS));
        break;
      case EMAIL:
        found.emails.push(readText(reader, EMAIL));
        break;
      case IP:
        found.ipAddresses.push(ipText(reader.content(IP), at));
        break;
      case DIRECTORY: {
        const encoded = reader.raw(DIRECTORY);
        // [4] is EXPLICIT, because Name is a CHOICE.
        const inner = new DerReader(encoded).enter(DIRECTORY);
        parseName(inner.raw(TAG.sequence));
        inner.finish();
        found.others.push(encoded);
        break;
      }
      default:
        if (!OTHERS.includes(reader.peek() ?? 0)) throw invalid('not a general name', at);
        found.others.push(reader.raw());
    }
  }
  return found;
}

function text(tag: number, value: string): Uint8Array {
  if (!/^[\x21-\x7e]+$/.test(value) || value.length > MAX_NAME_LENGTH) {
    throw new CaError('ERR_CA_NAME', 'an alternative name must be visible ASCII without spaces; use percent-encoding or an A-label', { facts: { length: value.length } });
  }
  return ia5String(value, tag);
}

function readText(reader: DerReader, tag: number): string {
  const at = reader.offset;
  const content = reader.content(tag);
  // Stricter than IA5String: NUL, line ends and blanks in a name have only ever served deception.
  if (content.length === 0 || content.length > MAX_NAME_LENGTH) throw invalid('alternative name empty or longer than the limit', at);
  for (const octet of content) if (octet < 0x21 || octet > 0x7e) throw invalid('alternative name is not visible ASCII', at);
  return decodeAscii(content, at);
}

function ipOctets(address: string): Uint8Array {
  const kind = isIP(address);
  if (kind === 4) return Uint8Array.from(address.split('.').map(Number));
  if (kind !== 6 || address.includes('%')) throw new CaError('ERR_CA_NAME', 'not an IP address; write it like 192.0.2.1 or 2001:db8::1', { facts: { address } });
  return ipv6Octets(address);
}

function ipv6Octets(address: string): Uint8Array {
  // An IPv4 tail is two groups.
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) => `${(Number(a) * 256 + Number(b)).toString(16)}:${(Number(c) * 256 + Number(d)).toString(16)}`);
  const [head = '', tail] = plain.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const before = groups(head);
  const after = groups(tail ?? '');
  const all = tail === undefined ? before : [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after];
  return Uint8Array.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]));
}

/** RFC 5280 §4.2.1.6: four or sixteen octets, never a range. */
function ipText(octets: Uint8Array, at: number): string {
  if (octets.length === 4) return octets.join('.');
  if (octets.length !== 16) throw invalid('IP address has neither 4 nor 16 octets', at);
  const groups = Array.from({ length: 8 }, (_, i) => (((octets[i * 2] ?? 0) << 8) | (octets[i * 2 + 1] ?? 0)).toString(16));
  // RFC 5952 §4.2: the longest run of at least two zero groups, the first of equals.
  let best = { start: -1, length: 1 };
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (groups[i + length] === '0') length++;
    if (length > best.length) best = { start: i, length };
    i += Math.max(0, length - 1);
  }
  if (best.start === -1) return groups.join(':');
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`;
}
