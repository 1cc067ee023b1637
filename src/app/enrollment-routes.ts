/** What the enrollment port of a deployment serves. */
import type { AcmeServer } from '../../ca/acme/server.ts';
import { createEnrollHandler, createRenewHandler } from '../../ca/index.ts';
import type { CertificateAuthority } from '../../ca/index.ts';
import { SallyportError } from '../errors.ts';
import type { EnrollmentCaller, EnrollmentRoute } from '../gateway/enrollment-server.ts';
import { presentPublicly } from './public-handler.ts';

export interface EnrollmentWorld {
  readonly authority: CertificateAuthority;
  /** Undefined when it is off. */
  readonly acme: AcmeServer | undefined;
  /** Known once the listeners are bound. */
  readonly places: () => {
    /** Where agents find the gateway, `https://…/mcp`. */
    readonly gateway: string;
    /** Base URL of the enrollment port, without a slash at the end. */
    readonly enrollment: string;
  };
}

export const enrollmentRoutes = ({ authority, acme, places }: EnrollmentWorld): readonly EnrollmentRoute[] => {
  const answering = () => {
    const { gateway, enrollment } = places();
    return { authority, gateway, renewal: `${enrollment}/renew`, present: presentPublicly };
  };
  return [
    { path: '/enroll', certificate: 'ignored', guessable: true, handle: (request, { address }) => createEnrollHandler(answering())(request, { address }) },
    {
      path: '/renew',
      certificate: 'required',
      handle: async (request, { peer }) => {
        if (peer === undefined) throw new SallyportError('ERR_PEER_NO_CERTIFICATE', 'renewal needs the certificate that is to be renewed');
        return createRenewHandler(answering())(request, peer.principal);
      },
    },
    // Every request there is signed; a client certificate proves nothing more.
    ...(acme === undefined ? [] : [{ path: '/acme/', certificate: 'ignored' as const, handle: (request: Request, { address }: EnrollmentCaller) => acme.handle(request, { address }) }]),
  ];
};
