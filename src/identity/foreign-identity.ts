/**
 * Certificate of somebody else's CA → the identity policy sees. Whatever such a CA writes, the
 * answer never is an identity of our own trust domain or of another anchor: a SPIFFE ID counts only
 * under the trust domain that was given to this anchor, and every other name carries the anchor's.
 */
import type { IssuerId } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { nameAttributes } from '../../ca/x509/name.ts';
import { principalOf } from './principal-of.ts';
import type { Principal } from './principal.ts';
import { looksLikeSpiffeId, parseSpiffeId } from './spiffe-id.ts';

/** What names the holder of a certificate. */
export type IdentityRule =
  | { readonly from: 'spiffe'; readonly trustDomain: string }
  | { readonly from: 'commonName' | 'dns' | 'email' };

export interface ForeignIdentity {
  /** Name of the anchor. */
  readonly trust: string;
  readonly rule: IdentityRule;
}

/** The principal, or in words why the certificate gives none. */
export const foreignPrincipal = (certificate: Certificate, issuerId: IssuerId, { trust, rule }: ForeignIdentity): Principal | string => {
  const id = rule.from === 'spiffe' ? svidIdentity(certificate, rule.trustDomain) : nameOf(certificate, rule.from);
  if ('problem' in id) return id.problem;
  return Object.freeze({ ...principalOf(certificate, issuerId), id: rule.from === 'spiffe' ? id.name : `${trust}/${id.name}`, trust });
};

type Named = { readonly name: string } | { readonly problem: string };

const svidIdentity = ({ uris }: Certificate, trustDomain: string): Named => {
  const [uri, ...others] = uris;
  // X.509-SVID §2: exactly one URI SAN.
  if (uri === undefined || others.length > 0) return { problem: `it has ${uris.length} URIs where an X.509-SVID has one` };
  const id = parseSpiffeId(uri);
  if (id === undefined) return { problem: 'its URI is not a SPIFFE ID' };
  if (id.trustDomain !== trustDomain) return { problem: `its SPIFFE ID is of another trust domain than ${trustDomain}` };
  // X.509-SVID §4.1: a leaf is a workload's, never the trust domain itself.
  if (id.path === '') return { problem: 'its SPIFFE ID is that of the trust domain, not of a workload' };
  return { name: uri };
};

const nameOf = (certificate: Certificate, from: 'commonName' | 'dns' | 'email'): Named => {
  const { uris } = certificate;
  if (uris.some(looksLikeSpiffeId)) return { problem: 'it carries a SPIFFE ID, which this anchor may not give' };
  switch (from) {
    case 'commonName':
      return only('cn', nameAttributes(certificate.subject, 'CN'), 'common names');
    case 'dns':
      return only('dns', certificate.dnsNames.map((name) => name.toLowerCase()), 'DNS names');
    case 'email':
      return only('email', certificate.emails, 'email addresses');
    default:
      return from satisfies never;
  }
};

/** With several, which one an agent goes by would hang on their order. */
const only = (kind: string, names: readonly string[], what: string): Named => {
  const [name, ...others] = names;
  if (name === undefined || others.length > 0) return { problem: `it has ${names.length} ${what} where its identity needs one` };
  if (!plain.test(name)) return { problem: `the ${kind} that would name it holds a wildcard or what is not visible` };
  return { name: `${kind}:${name}` };
};

const plain = /^[^*\p{C}\p{Z}]$|^[^*\p{C}\p{Z}](?:[^*\p{C}\p{Zl}\p{Zp}]{0,254})[^*\p{C}\p{Z}]$/u;
