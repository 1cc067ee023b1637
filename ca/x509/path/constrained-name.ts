/** The names a certificate carries and the subtrees a CA confines them to, in a form to compare (RFC 5280 §4.2.1.6 and §4.2.1.10). */
import { DerReader, TAG, contextTag, decodeAscii, invalid } from '../der.ts';
import { EXTENSION } from '../extension.ts';
import { nameAttributes, parseName, rdnKeys } from '../name.ts';
import type { Certificate } from '../certificate.ts';

/** The CHOICE of GeneralName. */
export type NameKind = 'other' | 'email' | 'dns' | 'x400' | 'directory' | 'ediParty' | 'uri' | 'ip' | 'registeredId';

interface GeneralName {
  readonly kind: NameKind;
  /** Of email, dns and uri. */
  readonly text: string;
  /** Of ip. */
  readonly octets: Uint8Array;
  /** Of directory: one text per RDN. */
  readonly rdns: readonly string[];
}

export type SubjectName = GeneralName;
/** The base of a subtree: a domain may begin with a dot or be empty, an address has its mask behind it. */
export type Subtree = GeneralName;

export interface NameConstraints {
  readonly permitted: readonly Subtree[];
  readonly excluded: readonly Subtree[];
}

const MAX_SUBTREES = 1024;
/** Longer than any address or host name (RFC 5321 §4.5.3.1). */
const MAX_BASE = 320;
const EMPTY = new Uint8Array();
const KINDS = new Map<number, NameKind>([
  [contextTag(0), 'other'],
  [contextTag(1, 'primitive'), 'email'],
  [contextTag(2, 'primitive'), 'dns'],
  [contextTag(3), 'x400'],
  [contextTag(4), 'directory'],
  [contextTag(5), 'ediParty'],
  [contextTag(6, 'primitive'), 'uri'],
  [contextTag(7, 'primitive'), 'ip'],
  [contextTag(8, 'primitive'), 'registeredId'],
]);
/** RFC 9598 §3: an address outside ASCII, to which the constraints on addresses apply. */
const SMTP_UTF8_MAILBOX = '1.3.6.1.5.5.7.8.9';

const namesRead = new WeakMap<Certificate, readonly SubjectName[]>();
const constraintsRead = new WeakMap<Certificate, NameConstraints>();

/** Every name that constraints speak about. Refuses with `ERR_DER_INVALID`. */
export function subjectNames(certificate: Certificate): readonly SubjectName[] {
  const known = namesRead.get(certificate);
  if (known !== undefined) return known;
  const names: SubjectName[] = [];
  if (certificate.subject.length > 0) names.push(directoryName(rdnKeys(certificate.subject)));
  // RFC 5280 §4.2.1.10 asks for this only without an address in subjectAltName; stricter, always.
  for (const address of nameAttributes(certificate.subject, 'emailAddress')) names.push({ kind: 'email', text: address, octets: EMPTY, rdns: [] });
  const alternatives = certificate.extensions.get(EXTENSION.subjectAltName);
  if (alternatives !== undefined) {
    const outer = new DerReader(alternatives.value);
    for (const list = outer.enter(TAG.sequence); !list.done; ) names.push(...readSubjectName(list));
  }
  namesRead.set(certificate, names);
  return names;
}

/** Undefined without the extension. Refuses with `ERR_DER_INVALID`. */
export function nameConstraints(certificate: Certificate): NameConstraints | undefined {
  if (certificate.nameConstraints === undefined) return undefined;
  const known = constraintsRead.get(certificate);
  if (known !== undefined) return known;
  const outer = new DerReader(certificate.nameConstraints);
  const fields = outer.enter(TAG.sequence);
  outer.finish();
  // RFC 5280 §4.2.1.10: never an empty sequence.
  if (fields.done) throw invalid('nameConstraints without a subtree', fields.offset);
  const permitted = readSubtrees(fields.enterOptional(contextTag(0)));
  const excluded = readSubtrees(fields.enterOptional(contextTag(1)));
  fields.finish();
  const constraints = { permitted, excluded };
  constraintsRead.set(certificate, constraints);
  return constraints;
}

function readSubtrees(list: DerReader | undefined): readonly Subtree[] {
  if (list === undefined) return [];
  if (list.done) throw invalid('empty list of subtrees', list.offset);
  const subtrees: Subtree[] = [];
  while (!list.done) {
    if (subtrees.length === MAX_SUBTREES) throw invalid('more subtrees than the limit', list.offset);
    const subtree = list.enter();
    subtrees.push(readGeneralName(subtree, 'subtree'));
    // RFC 5280 §4.2.1.10: minimum is 0, which DER leaves out, and maximum is absent.
    subtree.finish();
  }
  return subtrees;
}

function readSubjectName(list: DerReader): readonly SubjectName[] {
  const start = list.offset;
  const name = readGeneralName(list, 'name');
  if (name.kind !== 'other' || new DerReader(list.bytes, start, list.offset).enter(contextTag(0)).oid() !== SMTP_UTF8_MAILBOX) return [name];
  // Compared with nothing: where addresses are confined, it is refused.
  return [name, { kind: 'email', text: '', octets: EMPTY, rdns: [] }];
}

function readGeneralName(reader: DerReader, role: 'name' | 'subtree'): GeneralName {
  const at = reader.offset;
  const tag = reader.peek() ?? 0;
  const kind = KINDS.get(tag);
  if (kind === undefined) throw invalid('not a general name', at);
  const content = reader.content(tag);
  switch (kind) {
    case 'email':
    case 'dns':
    case 'uri':
      if (role === 'subtree' && content.length > MAX_BASE) throw invalid('base of a subtree longer than the limit', at);
      return { kind, text: decodeAscii(content, at), octets: EMPTY, rdns: [] };
    case 'ip':
      if (role === 'subtree') checkRange(content, at);
      return { kind, text: '', octets: content, rdns: [] };
    case 'directory':
      return directoryName(rdnKeys(parseName(content)));
    default:
      return { kind, text: '', octets: EMPTY, rdns: [] };
  }
}

function directoryName(rdns: readonly string[]): GeneralName {
  return { kind: 'directory', text: '', octets: EMPTY, rdns };
}

/** RFC 5280 §4.2.1.10: in the style of RFC 4632, so the mask is ones and then zeros. */
function checkRange(range: Uint8Array, at: number): void {
  const half = range.length / 2;
  if (half !== 4 && half !== 16) throw invalid('IP range has neither 8 nor 32 octets', at);
  const mask = Array.from(range.subarray(half), (octet) => octet.toString(2).padStart(8, '0')).join('');
  if (mask.includes('01')) throw invalid('IP range with holes in its mask', at);
}
