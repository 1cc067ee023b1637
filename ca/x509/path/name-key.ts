/** Names as one text each, worked out once: a search compares the same few names over and over. */
import { rdnKeys } from '../name.ts';
import type { Certificate } from '../certificate.ts';
import type { DistinguishedName } from '../name.ts';

const keys = new WeakMap<DistinguishedName, string>();

/** Equal for names that are equal by RFC 5280 §7.1. */
export function nameKey(name: DistinguishedName): string {
  let key = keys.get(name);
  if (key === undefined) {
    key = JSON.stringify(rdnKeys(name));
    keys.set(name, key);
  }
  return key;
}

/** RFC 5280 §6.1: the same name as subject and issuer; such a CA certificate carries a key over and does not count. */
export function isSelfIssued(certificate: Certificate): boolean {
  return nameKey(certificate.subject) === nameKey(certificate.issuer);
}
