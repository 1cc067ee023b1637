import type { CertificateAuthority } from '../authority.ts';
import { answer, answerError, crossed, readMembers, refuseMethod } from './json-exchange.ts';
import type { PresentError } from './json-exchange.ts';

export interface EnrollHandlerOptions {
  readonly authority: Pick<CertificateAuthority, 'enroll'>;
  /** Where the agent finds the gateway, `https://…/mcp`. */
  readonly gateway: string;
  /** Where the agent renews, `https://…/renew`. */
  readonly renewal: string;
  readonly present: PresentError;
}

/** `POST { token, csr }` → `{ certificate, ca, crossCertificates?, gateway, renewal }`, certificates in PEM. */
export const createEnrollHandler =
  ({ authority, gateway, renewal, present }: EnrollHandlerOptions) =>
  async (request: Request, facts: { readonly address?: string | undefined } = {}): Promise<Response> => {
    if (request.method !== 'POST') return refuseMethod('POST');
    try {
      const { token, csr } = await readMembers(request, ['token', 'csr']);
      const issued = await authority.enroll({ token, csr, address: facts.address });
      return answer(200, { certificate: issued.chain, ca: issued.ca, ...crossed(issued), gateway, renewal });
    } catch (error) {
      return answerError(error, present);
    }
  };
