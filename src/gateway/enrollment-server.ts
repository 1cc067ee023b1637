/**
 * Enrollment has a port of its own: whoever enrolls has no certificate yet, so this one asks for a
 * certificate without demanding it. `/enroll` lives on the token, `/renew` on the certificate.
 */
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import { TLSSocket } from 'node:tls';
import type { Clock, IssuerId, SerialHex } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';
import type { RefusedPeer, ServerIdentity } from '../tls/listener.ts';
import type { TrustStore } from '../tls/trust.ts';
import { RefusalBudget } from '../tls/refusal-budget.ts';
import { verifyPeer } from '../tls/verify-peer.ts';
import { webListener } from './web-listener.ts';

export interface EnrollmentServerOptions {
  /** The chain must include the root: an agent pins it by the hash in its token. */
  readonly identity: ServerIdentity;
  readonly trust: () => TrustStore;
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly minVersion: 'TLSv1.3' | 'TLSv1.2';
  readonly enroll: (request: Request, facts: { readonly address: string | undefined }) => Promise<Response>;
  readonly renew: (request: Request, peer: { readonly issuerId: IssuerId; readonly serial: SerialHex }) => Promise<Response>;
  /** A certificate of ours that may not be renewed. Strangers are not worth an entry each. */
  readonly onRefused: (refused: RefusedPeer) => void;
  readonly onFailure: (error: unknown, address: string | undefined) => void;
}

/** A CSR is at most 16 KiB; the token and JSON around it are small. */
const limits = { bodyBytes: 64 * 1024, bodyTimeoutMs: 10_000 };

/** Anyone may try a token, and each failure is an entry in the audit log: that must not fill the disk. */
const failedTokens = { perSecond: 5, burst: 100 };
const pauseMs = 1_000;

export const createEnrollmentServer = (options: EnrollmentServerOptions): Server => {
  const { identity, index, clock } = options;
  const failures = new RefusalBudget(clock, failedTokens);
  let pausedUntil = 0;
  const enrolling = async (request: Request, address: string | undefined): Promise<Response> => {
    if (clock.now().getTime() < pausedUntil) {
      throw new SallyportError('ERR_LIMIT_REQUESTS', 'too many enrollments with bad tokens: try again in a moment', { facts: { address } });
    }
    const answer = await options.enroll(request, { address });
    if (answer.status === 403 && failures.take() === undefined) pausedUntil = clock.now().getTime() + pauseMs;
    return answer;
  };
  const handler = webListener({
    limits,
    onFailure: options.onFailure,
    handler: async (request, { address, socket }) => {
      const { pathname } = new URL(request.url);
      if (pathname === '/enroll') return enrolling(request, address);
      if (pathname !== '/renew') throw new SallyportError('ERR_HTTP_PATH', 'the enrollment port serves /enroll and /renew');
      if (!(socket instanceof TLSSocket)) throw new SallyportError('ERR_PEER_NO_CERTIFICATE', 'renewal needs the certificate that is to be renewed');
      const verdict = await verifyPeer(
        {
          certificate: socket.getPeerX509Certificate()?.raw,
          // The types say Error; Node gives the code as a string.
          opensslError: socket.authorized ? undefined : String(socket.authorizationError),
          remoteAddress: address,
          resumed: socket.isSessionReused(),
        },
        { trust: options.trust(), index, clock },
      );
      if (!verdict.ok) {
        if (verdict.facts.issuer !== undefined) options.onRefused({ ...verdict.facts, error: verdict.error, resumed: socket.isSessionReused(), suppressed: 0 });
        throw verdict.error;
      }
      return options.renew(request, verdict.peer.principal);
    },
  });
  const server = createServer(
    {
      key: identity.key, cert: identity.cert, ...(identity.passphrase === undefined ? {} : { passphrase: identity.passphrase }),
      ca: [...options.trust().authorities], requestCert: true, rejectUnauthorized: false, minVersion: options.minVersion,
      headersTimeout: 10_000, requestTimeout: 30_000, ALPNProtocols: ['http/1.1'],
    },
    handler,
  );
  server.maxConnections = 1_000;
  server.on('tlsClientError', (_error, socket) => socket.destroy());
  return server;
};
