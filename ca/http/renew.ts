import type { CertificateAuthority } from '../authority.ts';
import type { CertificateKey } from '../requests.ts';
import { answer, answerError, crossed, readMembers, refuseMethod } from './json-exchange.ts';
import type { PresentError } from './json-exchange.ts';

export interface RenewHandlerOptions {
  readonly authority: Pick<CertificateAuthority, 'renew'>;
  readonly gateway: string;
  readonly renewal: string;
  readonly present: PresentError;
}

/** `POST { csr }` over mutual TLS → `{ certificate, ca, crossCertificates?, gateway, renewal }`. `peer` is the certificate the listener has verified. */
export const createRenewHandler =
  ({ authority, gateway, renewal, present }: RenewHandlerOptions) =>
  async (request: Request, peer: CertificateKey): Promise<Response> => {
    if (request.method !== 'POST') return refuseMethod('POST');
    try {
      const { csr } = await readMembers(request, ['csr']);
      const issued = await authority.renew(peer, { csr });
      return answer(200, { certificate: issued.chain, ca: issued.ca, ...crossed(issued), gateway, renewal });
    } catch (error) {
      return answerError(error, present);
    }
  };
