/**
 * Which roots an identity trusts after an answer of its gateway. A root it does not know yet is taken only with the
 * signature of one it knows: whoever holds no more than the key of a gateway cannot make himself the authority.
 */
import type { X509Certificate } from 'node:crypto';
import type { CertificateAnswer } from './certificate-request.ts';
import { certificatesOf, isIssuedBy } from './identity.ts';

const maxCertificates = 32;

/** In the order of the answer; what is not vouched for is left out, and with nothing left the known ones stay. */
export function rootsAfter(answer: Pick<CertificateAnswer, 'ca' | 'crossCertificates'>, known: readonly X509Certificate[], now: Date): readonly X509Certificate[] {
  const offered = readable(answer.ca).filter((root) => isIssuedBy(root, root) && isValid(root, now));
  const crosses = readable(answer.crossCertificates ?? '').filter((cross) => cross.ca && isValid(cross, now));
  const taken = new Set(offered.filter((root) => isIn(root, known)));
  // A root may vouch for the one after the next only by way of the next.
  for (let before = -1; before < taken.size; ) {
    before = taken.size;
    for (const root of offered) if (!taken.has(root) && crosses.some((cross) => isSameAuthority(cross, root) && [...taken, ...known].some((each) => isIssuedBy(cross, each)))) taken.add(root);
  }
  return taken.size === 0 ? known : offered.filter((root) => taken.has(root));
}

const isIn = (certificate: X509Certificate, others: readonly X509Certificate[]): boolean => others.some((other) => other.raw.equals(certificate.raw));

/** The same key under the same name. */
const isSameAuthority = (cross: X509Certificate, root: X509Certificate): boolean =>
  cross.subject === root.subject && cross.publicKey.export({ type: 'spki', format: 'der' }).equals(root.publicKey.export({ type: 'spki', format: 'der' }));

const isValid = ({ validFromDate, validToDate }: X509Certificate, now: Date): boolean => validFromDate <= now && now <= validToDate;

function readable(pem: string): readonly X509Certificate[] {
  try {
    return certificatesOf(pem).slice(0, maxCertificates);
  } catch {
    return [];
  }
}
