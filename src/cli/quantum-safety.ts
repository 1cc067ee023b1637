/** What a certificate rests on, and whether a later quantum computer could forge it. */
import type { CertificateRecord } from '../../ca/ports.ts';
import { keyAlgorithmOfSpki, signingKeyTypeOf } from '../../ca/x509/algorithm.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';

export interface Algorithms {
  readonly keyAlgorithm: string | null;
  /** Type of the issuer's key. */
  readonly signatureAlgorithm: string | null;
  /** Key and signature are ML-DSA. Null while there is no certificate to look at. */
  readonly quantumSafe: boolean | null;
}

export const algorithmsOf = ({ der }: Pick<CertificateRecord, 'der'>): Algorithms => {
  if (der === undefined) return { keyAlgorithm: null, signatureAlgorithm: null, quantumSafe: null };
  const certificate = parseCertificate(der);
  const keyAlgorithm = keyAlgorithmOfSpki(certificate.spki);
  const signatureAlgorithm = signingKeyTypeOf(certificate.signatureAlgorithm) ?? null;
  return { keyAlgorithm, signatureAlgorithm, quantumSafe: isPostQuantum(keyAlgorithm) && isPostQuantum(signatureAlgorithm ?? '') };
};

const isPostQuantum = (algorithm: string): boolean => algorithm.startsWith('ml-dsa-');
