/** One entry of the audit log: the event in canonical form, and the leaf of the Merkle tree that it is. */
import { hashLeaf } from './merkle.ts';
import type { AuditEvent } from '../../ca/ports.ts';
import type { MerkleHash } from './merkle.ts';

/** An entry as the store holds it. */
export interface StoredEntry {
  /** Position in the log, from 0. */
  readonly index: number;
  /** Canonical JSON, exactly the octets (UTF-8) that were hashed. */
  readonly event: string;
  readonly leafHash: MerkleHash;
}

/**
 * Canonical JSON in the sense of RFC 8785 (members sorted by UTF-16 code units, no white space,
 * ECMAScript numbers). The index is part of what is hashed, so that a moved entry names itself.
 */
export const canonicalEvent = (event: AuditEvent, index: number): string => canonicalJson({ ...event, time: event.time.toISOString(), index });

export const leafHashOf = (canonical: string): MerkleHash => hashLeaf(Buffer.from(canonical, 'utf8'));

export const storedEntry = (event: AuditEvent, index: number): StoredEntry => {
  const canonical = canonicalEvent(event, index);
  return { index, event: canonical, leafHash: leafHashOf(canonical) };
};

/** The same value always gives the same text; members that are undefined are left out. */
export const canonicalJson = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item === undefined ? null : item)).join(',')}]`;
  if (typeof value === 'object' && value !== null) {
    const members = value as Readonly<Record<string, unknown>>;
    let text = '';
    // By UTF-16 code units, as sort does by default.
    for (const key of Object.keys(members).sort()) {
      const member = members[key];
      if (member !== undefined) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${canonicalJson(member)}`;
    }
    return `{${text}}`;
  }
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw new TypeError('an audit event holds JSON values only');
  return text;
};

/** An event as it reads once it has been through the log: `time` is text, and the entry's own index is there. */
export type RecordedEvent = Omit<AuditEvent, 'time'> & { readonly time: string; readonly index: number };

/** `undefined` when the text is not an event (someone wrote into the store by hand). */
export const readEvent = (canonical: string): RecordedEvent | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(canonical);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const event = value as Partial<RecordedEvent>;
  const complete = typeof event.action === 'string' && typeof event.outcome === 'string' && typeof event.time === 'string' && typeof event.index === 'number';
  return complete ? (event as RecordedEvent) : undefined;
};
