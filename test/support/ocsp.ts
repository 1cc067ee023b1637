/** Asks a responder, and proves what it answers. */
import { expect } from 'vitest';
import type { Issuer } from '../../ca/hierarchy.ts';
import type { OcspResponders } from '../../ca/ocsp-responders.ts';
import type { OcspAnswer } from '../../ca/ocsp.ts';
import { verifySignature } from '../../ca/x509/algorithm.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { encodeCertificateId, encodeOcspRequest, parseOcspResponse } from '../../ca/x509/ocsp.ts';
import type { BasicOcspResponse, OcspHash } from '../../ca/x509/ocsp.ts';

export interface Asked {
  readonly hash?: OcspHash;
  readonly nonce?: Uint8Array;
}

export const requestAbout = (issuer: Issuer, serials: readonly string[], { hash = 'sha1', nonce }: Asked = {}): Uint8Array =>
  encodeOcspRequest({ certificateIds: serials.map((serial) => encodeCertificateId({ hash, issuer: issuer.certificate, serial })), nonce });

export interface Proven extends OcspAnswer {
  readonly response: BasicOcspResponse;
  /** Status of the first certificate asked about, or the error. */
  readonly status: string;
  readonly signer: Certificate;
}

/** The error of an answer without a signature, or the answer with its signature verified under the responder's certificate, and that under the issuer's. */
export const ask = async (responder: Pick<OcspResponders, 'respond'> | undefined, issuer: Issuer, serials: string | readonly string[], asked: Asked = {}): Promise<Proven | { readonly status: string }> => {
  if (responder === undefined) throw new Error('there is no responder');
  const answer = await responder.respond(requestAbout(issuer, [serials].flat(), asked));
  const response = parseOcspResponse(answer.der);
  if (response.status !== 'successful') return { status: response.status };
  const [der = new Uint8Array()] = response.certificates;
  const signer = parseCertificate(der);
  expect(verifyCertificateSignature(signer, issuer.certificate.spki)).toBe(true);
  expect(verifySignature({ spki: signer.spki, algorithm: response.signatureAlgorithm, data: response.responseData, signature: response.signature })).toBe(true);
  return { ...answer, response, status: response.responses[0]?.status.status ?? '', signer };
};

/** As `ask`, where nothing but a signed answer will do. */
export const proven = async (...asked: Parameters<typeof ask>): Promise<Proven> => {
  const answer = await ask(...asked);
  if (!('response' in answer)) throw new Error(`answered with ${answer.status}`);
  return answer;
};
