/** One responder for each issuing CA behind one address: a request goes to the one it asks about. */
import type { OcspAnswer, OcspResponder } from './ocsp.ts';
import type { IssuerId } from './ports.ts';
import { CaError } from './errors.ts';
import type { CertificateKey } from './requests.ts';
import type { Certificate } from './x509/certificate.ts';
import { encodeOcspError, parseOcspRequest } from './x509/ocsp.ts';
import type { OcspRequest } from './x509/ocsp.ts';

export class OcspResponders {
  readonly #responders = new Map<IssuerId, OcspResponder>();
  #isHeard: (issuerId: IssuerId) => boolean = () => false;

  /** In place of the one this issuer had. */
  set(issuerId: IssuerId, responder: OcspResponder): void {
    responder.follow(() => this.#isHeard(issuerId));
    this.#responders.set(issuerId, responder);
  }

  /** DER in, DER out. Whatever is wrong is an answer too: one without a signature (RFC 6960 §2.3). */
  async respond(request: Uint8Array): Promise<OcspAnswer> {
    let asked: OcspRequest;
    try {
      asked = parseOcspRequest(request);
    } catch (error) {
      if (error instanceof CaError) return { der: encodeOcspError('malformedRequest') };
      throw error;
    }
    for (const responder of this.#responders.values()) if (responder.speaksFor(asked)) return responder.answer(asked);
    // RFC 5019 §2.2.3: unauthorized says that this responder does not answer for that issuer.
    return { der: encodeOcspError('unauthorized') };
  }

  /**
   * An answer to be stapled to a handshake: DER, or undefined for a certificate of somebody else.
   * @throws CaError `ERR_STORE_UNAVAILABLE`, `ERR_CA_MISSING`, `ERR_KEY_*`
   */
  async staple(certificate: Pick<Certificate, 'serial' | 'issuerNameDer' | 'authorityKeyIdentifier'>): Promise<Uint8Array | undefined> {
    for (const responder of this.#responders.values()) {
      const answer = await responder.staple(certificate);
      if (answer !== undefined) return answer;
    }
    return undefined;
  }

  /** For as long as `isHeard` answers true of an issuer, every change of a status is told to `forget`, so that it need not be looked up for each answer. */
  follow(isHeard: (issuerId: IssuerId) => boolean): void {
    this.#isHeard = isHeard;
    for (const [issuerId, responder] of this.#responders) responder.follow(() => this.#isHeard(issuerId));
  }

  /** The status of a certificate changed: the next answer about it is a new one. */
  forget(key: CertificateKey): void {
    this.#responders.get(key.issuerId)?.forget(key);
  }
}
