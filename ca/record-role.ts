import type { CertificateRecord } from './ports.ts';

/**
 * Whose certificate a row of the inventory is: a CA's, its OCSP responder's, or an agent's or server's. The first two
 * go by names no other can have: those of agents have no colon, and servers named by an IPv6 address have two at least.
 */
export const roleOf = ({ agent }: Pick<CertificateRecord, 'agent'>): 'ca' | 'ocsp' | 'endEntity' => {
  const [, role] = /^(ca|ocsp):[^:]*$/.exec(agent) ?? [];
  return role === 'ca' || role === 'ocsp' ? role : 'endEntity';
};
