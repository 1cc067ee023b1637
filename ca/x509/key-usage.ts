/** Values of keyUsage, extendedKeyUsage and reasonCode by the names RFC 5280 gives them. */
import { EXTENDED_KEY_USAGE } from './extension-oid.ts';
import type { RevocationReason } from '../ports.ts';

/** RFC 5280 §4.2.1.3, in bit order. */
export const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

/** RFC 5280 §5.3.1. 7 is not used, and 8 (`removeFromCRL`) appears in delta CRLs only. */
const REASONS: readonly (RevocationReason | undefined)[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  undefined,
  undefined,
  'privilegeWithdrawn',
  'aACompromise',
];

const EXTENDED_KEY_USAGE_OIDS = new Map<string, string>(Object.entries(EXTENDED_KEY_USAGE));

/** CRLReason of an entry that takes a certificate off a base CRL. */
export const REMOVE_FROM_CRL = 8;

export function reasonCodeOf(reason: RevocationReason): number {
  const code = REASONS.indexOf(reason);
  if (code === -1) throw new TypeError('unknown revocation reason');
  return code;
}

/** Undefined for `removeFromCRL` and for numbers that RFC 5280 does not define. */
export function reasonOf(code: number): RevocationReason | undefined {
  return REASONS[code];
}

/** OID for `clientAuth` and the like; a dotted OID stays itself. */
export function extendedKeyUsageOid(usage: string): string {
  return EXTENDED_KEY_USAGE_OIDS.get(usage) ?? usage;
}
