/** What the enrollment port of a deployment serves. */
import { apiPath, createApiHandler } from '../api/handler.ts';
import type { ApiWorld } from '../api/operation.ts';
import type { AcmeServer } from '../../ca/acme/server.ts';
import { createEnrollHandler, createEstHandler, createRenewHandler, createTrustBundleHandler, estOperations } from '../../ca/index.ts';
import type { CertificateAuthority, CertificateKey, EstOperation, KeyAlgorithm } from '../../ca/index.ts';
import { TokenBuckets } from '../../ca/token-bucket.ts';
import { SallyportError } from '../errors.ts';
import type { EnrollmentCaller, EnrollmentRoute } from '../gateway/enrollment-server.ts';
import { bundlePaths, presentPublicly } from './public-handler.ts';

export interface EnrollmentWorld {
  readonly authority: CertificateAuthority;
  /** Undefined when it is off. */
  readonly acme: AcmeServer | undefined;
  /** EST at `/.well-known/est/`, for which clients are told to make such keys; undefined for none. */
  readonly est: { readonly keyAlgorithm: KeyAlgorithm } | undefined;
  /** Known once the listeners are bound. */
  readonly places: () => {
    /** Where agents find the gateway, `https://…/mcp`. */
    readonly gateway: string;
    /** Base URL of the enrollment port, without a slash at the end. */
    readonly enrollment: string;
  };
  readonly api: ApiWorld;
}

/**
 * Renewals of one agent, whatever became of them: each leaves an entry in the audit log, and one that succeeds a
 * certificate, which is on the CRL once it was replaced. An agent that renews every minute does not notice.
 */
const renewals = { perSecond: 0.2, burst: 60, most: 10_000 };

export const enrollmentRoutes = ({ authority, acme, est, places, api }: EnrollmentWorld): readonly EnrollmentRoute[] => {
  const answering = () => {
    const { gateway, enrollment } = places();
    return { authority, gateway, renewal: `${enrollment}/renew`, present: presentPublicly };
  };
  const bundle = createTrustBundleHandler({ authority });
  const limit = new TokenBuckets(api.clock, renewals);
  const shownBy = ({ peer, expired }: EnrollmentCaller): CertificateKey | undefined => {
    const shown = peer?.principal ?? expired;
    if (shown !== undefined && !limit.take(peer?.principal.id ?? `${shown.issuerId} ${shown.serial}`)) {
      throw new SallyportError('ERR_LIMIT_REQUESTS', 'the agent renews too often: use the certificate that was issued', { facts: { issuer: shown.issuerId, serial: shown.serial } });
    }
    return shown;
  };
  return [
    // On the public listener too, where nobody proves who answers.
    ...[...bundlePaths].map((path): EnrollmentRoute => ({ path, certificate: 'ignored', handle: (request) => bundle(request) })),
    { path: '/enroll', certificate: 'ignored', guessable: true, handle: (request, { address }) => createEnrollHandler(answering())(request, { address }) },
    {
      path: '/renew',
      certificate: 'required',
      expired: 'renewable',
      proxy: 'itself',
      handle: async (request, caller) => {
        const shown = shownBy(caller);
        if (shown === undefined) throw new SallyportError('ERR_PEER_NO_CERTIFICATE', 'renewal needs the certificate that is to be renewed');
        return createRenewHandler(answering())(request, shown);
      },
    },
    { path: apiPath, certificate: 'required', handle: createApiHandler(api) },
    // Every request there is signed; a client certificate proves nothing more.
    ...(acme === undefined ? [] : [{ path: '/acme/', certificate: 'ignored' as const, handle: (request: Request, { address }: EnrollmentCaller) => acme.handle(request, { address }) }]),
    ...(est === undefined ? [] : estRoutes(authority, est.keyAlgorithm, shownBy)),
  ];
};

/** RFC 7030 §3.2.2: with and without a label, which is the name of a profile. */
const estRoutes = (authority: CertificateAuthority, keyAlgorithm: KeyAlgorithm, shownBy: (caller: EnrollmentCaller) => CertificateKey | undefined): readonly EnrollmentRoute[] => {
  const handle = createEstHandler({ authority, keyAlgorithm, present: presentPublicly });
  const demands: Readonly<Record<EstOperation, Pick<EnrollmentRoute, 'certificate' | 'expired' | 'proxy' | 'guessable'>>> = {
    // RFC 7030 §4.1.2 and §4.5.1: anybody may ask.
    cacerts: { certificate: 'ignored' },
    csrattrs: { certificate: 'ignored' },
    simpleenroll: { certificate: 'optional', guessable: true },
    simplereenroll: { certificate: 'required', expired: 'renewable', proxy: 'itself' },
  };
  const labels = [undefined, ...authority.profiles.keys()];
  return [
    ...labels.flatMap((label) =>
      estOperations.map((operation) => ({
        path: `/.well-known/est/${label === undefined ? '' : `${label}/`}${operation}`,
        ...demands[operation],
        handle: (request: Request, caller: EnrollmentCaller) => handle(request, { operation, label, shown: shownBy(caller), address: caller.address }),
      })),
    ),
    // RFC 7030 §4.3 and §4.4 are optional, and keys are made where they are used.
    { path: '/.well-known/est/', certificate: 'ignored', handle: async (request) => new Response(null, { status: /\/(?:serverkeygen|fullcmc)$/.test(new URL(request.url).pathname) ? 501 : 404 }) },
  ];
};
