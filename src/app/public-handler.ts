/** What anybody may fetch over plain HTTP: CRLs, CA certificates, health. */
import { createCaCertificateHandler, createCrlHandler } from '../../ca/index.ts';
import type { CertificateAuthority, Clock } from '../../ca/index.ts';
import { codeOf, errorTable } from '../errors.ts';
import type { Gateway } from '../gateway/gateway.ts';
import { healthHandler } from '../gateway/health.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';

export interface PublicHandlerOptions {
  readonly authority: CertificateAuthority;
  readonly audit: { readonly available: boolean };
  readonly index: RevocationIndex;
  readonly gateway: Gateway;
  readonly clock: Clock;
}

export const publicHandler = ({ authority, audit, index, gateway, clock }: PublicHandlerOptions): ((request: Request) => Promise<Response>) => {
  const health = healthHandler([
    { name: 'audit', check: async () => (audit.available ? undefined : 'unavailable') },
    { name: 'revocation', check: async () => (index.freshUntil(authority.issuing.id) > clock.now().getTime() ? undefined : 'stale') },
    { name: 'gateway', check: async () => (gateway.draining ? 'draining' : undefined) },
    { name: 'upstreams', check: async () => ((await gateway.upstreamsHealthy()) ? undefined : 'unreachable') },
  ]);
  const crl = createCrlHandler({ authority, clock, present: presentPublicly });
  const certificate = createCaCertificateHandler({ authority });
  return async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/crl/')) return crl(request);
    if (pathname.startsWith('/ca/')) return certificate(request);
    return (await health(pathname)) ?? new Response(null, { status: 404 });
  };
};

/** What a stranger learns of an error: the public text of its code. */
export const presentPublicly = (error: unknown): { status: number; code: string; message: string } => {
  const code = codeOf(error);
  return { status: errorTable[code].http, code, message: errorTable[code].public };
};
