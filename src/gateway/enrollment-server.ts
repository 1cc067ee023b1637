/**
 * Enrollment has a port of its own: whoever enrolls has no certificate yet, so this one asks for a
 * certificate without demanding it. Each route says what it demands.
 */
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import { TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';
import type { RefusedPeer, ServerIdentity } from '../tls/listener.ts';
import type { TrustStore } from '../tls/trust.ts';
import type { VerifiedPeer } from '../tls/verified-peer.ts';
import { verifyExpiredPeer } from '../tls/expired-peer.ts';
import type { ExpiredPeer, ExpiredVerdict } from '../tls/expired-peer.ts';
import { verifyPeer } from '../tls/verify-peer.ts';
import type { PeerChecks, PeerFacts, PeerVerdict } from '../tls/verify-peer.ts';
import { clientCert, clientCertChain } from './client-cert.ts';
import { GuessLimit } from './guess-limit.ts';
import { webListener } from './web-listener.ts';

/** Who asks. */
export interface EnrollmentCaller {
  readonly address: string | undefined;
  /** Who showed a good certificate; always there where the route demands one. */
  readonly peer: VerifiedPeer | undefined;
  /** Who showed one that expired within the grace, where the route renews it. */
  readonly expired?: ExpiredPeer | undefined;
}

/** One thing the enrollment port serves. */
export interface EnrollmentRoute {
  /** Exactly this path; with a slash at the end, everything below it. */
  readonly path: string;
  /** `required`: without a good one the request is refused. `optional`: a bad one is refused, none is not. `ignored`: it lives on another proof. */
  readonly certificate: 'required' | 'optional' | 'ignored';
  /** Whether one that expired within the grace will do, as for its renewal. Default `refused`. */
  readonly expired?: 'renewable' | 'refused';
  /** Whether a proxy may ask for itself here, as for the renewal of its own certificate. Default `refused`. */
  readonly proxy?: 'itself' | 'refused';
  /** Whether 401 and 403 are wrong guesses at a secret, which are few a second (`GuessLimit`). */
  readonly guessable?: boolean;
  handle(request: Request, caller: EnrollmentCaller): Promise<Response>;
}

export interface EnrollmentServerOptions {
  /** The chain must include the root: an agent pins it by the hash in its token. */
  readonly identity: ServerIdentity;
  readonly trust: () => TrustStore;
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly minVersion: 'TLSv1.3' | 'TLSv1.2';
  readonly routes: readonly EnrollmentRoute[];
  /** Ids of principals that connect in the name of others at the gateway (`gateway.proxies`), and in nobody's here. */
  readonly proxies: ReadonlySet<string>;
  /** How long after its end a certificate may be renewed with proof of its key. Default 0: not at all. */
  readonly renewalGraceMs?: number | undefined;
  /** A certificate of ours that is no longer good. Strangers are not worth an entry each. */
  readonly onRefused: (refused: RefusedPeer) => void;
  readonly onFailure: (error: unknown, address: string | undefined) => void;
  /** Default 10 s. */
  readonly handshakeTimeoutMs?: number | undefined;
}

/** A CSR is at most 16 KiB; the token and JSON around it are small. */
const limits = { bodyBytes: 64 * 1024, bodyTimeoutMs: 10_000 };

export const createEnrollmentServer = (options: EnrollmentServerOptions): Server => {
  const { identity, clock } = options;
  const routeOf = routing(options.routes);
  const guesses = new GuessLimit(clock);
  const handler = webListener({
    limits,
    onFailure: options.onFailure,
    handler: async (request, { address, socket }) => {
      const route = routeOf(new URL(request.url).pathname);
      const caller = { address, ...(await shownBy(socket, address, { route, options, headers: request.headers })) };
      if (route.guessable !== true) return route.handle(request, caller);
      if (guesses.pauses(address)) {
        throw new SallyportError('ERR_LIMIT_REQUESTS', 'too many enrollments with bad tokens: try again in a moment', { facts: { address } });
      }
      const answer = await route.handle(request, caller);
      if (answer.status === 401 || answer.status === 403) guesses.count(address);
      return answer;
    },
  });
  const server = createServer(
    {
      key: identity.key, cert: identity.cert, ...(identity.passphrase === undefined ? {} : { passphrase: identity.passphrase }),
      ca: [...options.trust().authorities], requestCert: true, rejectUnauthorized: false, minVersion: options.minVersion,
      // Of Node's two minutes a thousand silent connections would keep everybody out.
      handshakeTimeout: options.handshakeTimeoutMs ?? 10_000, headersTimeout: 10_000, requestTimeout: 30_000, ALPNProtocols: ['http/1.1'],
    },
    handler,
  );
  server.maxConnections = 1_000;
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
};

const routing = (routes: readonly EnrollmentRoute[]): ((pathname: string) => EnrollmentRoute) => {
  const exact = new Map(routes.map((route) => [route.path, route]));
  const folders = routes.filter(({ path }) => path.endsWith('/'));
  return (pathname) => {
    const route = exact.get(pathname) ?? folders.find(({ path }) => pathname.startsWith(path));
    if (route === undefined) throw new SallyportError('ERR_HTTP_PATH', 'the enrollment port does not serve this path: see docs/enrollment.md', { facts: { path: pathname.slice(0, 200) } });
    return route;
  };
};

/** A certificate of ours that is no longer good costs a handshake for each entry in the audit log, as at the gateway. */
const reported = new WeakSet<Socket>();

type Shown = Pick<EnrollmentCaller, 'peer' | 'expired'>;

const shownBy = async (socket: Socket, address: string | undefined, { route, options, headers }: { readonly route: EnrollmentRoute; readonly options: EnrollmentServerOptions; readonly headers: Headers }): Promise<Shown> => {
  if (route.certificate === 'ignored') return { peer: undefined };
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate()?.raw : undefined;
  if (!(socket instanceof TLSSocket) || certificate === undefined) {
    if (route.certificate === 'optional') return { peer: undefined };
    throw new SallyportError('ERR_PEER_NO_CERTIFICATE', 'this needs a client certificate: show the one that was issued here');
  }
  const facts: PeerFacts = {
    certificate,
    // The types say Error; Node gives the code as a string.
    opensslError: socket.authorized ? undefined : String(socket.authorizationError),
    remoteAddress: address,
    resumed: socket.isSessionReused(),
  };
  const checks: PeerChecks = { trust: options.trust(), index: options.index, clock: options.clock };
  const graceMs = options.renewalGraceMs ?? 0;
  let verdict: PeerVerdict | ExpiredVerdict = await verifyPeer(facts, checks);
  const borrowed = headers.has(clientCert) || headers.has(clientCertChain);
  if (verdict.ok) {
    const error = lentProblem(verdict.peer, { borrowed, route, options });
    if (error === undefined) return { peer: verdict.peer };
    verdict = { ok: false, error, facts: describe(verdict.peer) };
  } else if (verdict.error.code === 'ERR_PEER_EXPIRED' && route.expired === 'renewable' && graceMs > 0 && !borrowed) {
    verdict = await verifyExpiredPeer(facts, { ...checks, graceMs });
    if (verdict.ok) return { peer: undefined, expired: verdict.peer };
  }
  if (verdict.facts.issuer !== undefined && !reported.has(socket)) {
    reported.add(socket);
    options.onRefused({ ...verdict.facts, error: verdict.error, resumed: socket.isSessionReused(), suppressed: 0 });
  }
  throw verdict.error;
};

/** Nobody is served here by way of a proxy: its own certificate would be what is renewed, or holds a role, for whoever is behind it. */
const lentProblem = ({ principal }: VerifiedPeer, { borrowed, route, options }: { readonly borrowed: boolean; readonly route: EnrollmentRoute; readonly options: EnrollmentServerOptions }): SallyportError | undefined => {
  if (borrowed) return new SallyportError('ERR_HTTP_CLIENT_CERT', 'Client-Cert came to the enrollment port, which takes certificates over TLS alone: have the proxy hand on the connection as it is');
  if (route.proxy === 'itself' || !options.proxies.has(principal.id)) return undefined;
  return new SallyportError('ERR_HTTP_CLIENT_CERT', 'the certificate is that of a proxy, which asks for nothing here but its own renewal');
};

const describe = ({ principal, remoteAddress }: VerifiedPeer): Omit<RefusedPeer, 'error' | 'resumed' | 'suppressed'> => ({
  subject: principal.subject, serial: principal.serial, issuer: principal.issuerId, thumbprint: principal.thumbprint, address: remoteAddress,
});
