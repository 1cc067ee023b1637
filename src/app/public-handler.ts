/** What anybody may fetch over plain HTTP: CRLs, OCSP answers, CA certificates, health. */
import { createCaCertificateHandler, createCrlHandler, createOcspHandler, createTrustBundleHandler } from '../../ca/index.ts';
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
  /** Of the other authorities: what is missing or out of date. */
  readonly foreign: { readonly standing: string | undefined };
  /** JWK Set that verifies what upstreams learn about callers. */
  readonly identityKeys: object | undefined;
}

export const publicHandler = ({ authority, audit, index, gateway, foreign, clock, identityKeys }: PublicHandlerOptions): ((request: Request) => Promise<Response>) => {
  const health = healthHandler([
    { name: 'audit', check: async () => (audit.available ? undefined : 'unavailable') },
    { name: 'revocation', check: async () => (authority.trusted('issuing').every(({ id }) => index.freshUntil(id) > clock.now().getTime()) ? undefined : 'stale') },
    { name: 'trust', check: async () => foreign.standing },
    { name: 'gateway', check: async () => (gateway.draining ? 'draining' : undefined) },
    { name: 'upstreams', check: async () => ((await gateway.upstreamsHealthy()) ? undefined : 'unreachable') },
  ]);
  const crl = createCrlHandler({ authority, clock, present: presentPublicly });
  const certificate = createCaCertificateHandler({ authority });
  const bundle = createTrustBundleHandler({ authority });
  const ocsp = authority.ocsp === undefined ? undefined : createOcspHandler({ responder: authority.ocsp, clock });
  return async (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/crl/')) return crl(request);
    if (ocsp !== undefined && (pathname === '/ocsp' || pathname.startsWith('/ocsp/'))) return ocsp(request);
    if (bundlePaths.has(pathname)) return bundle(request);
    if (pathname.startsWith('/ca/')) return certificate(request);
    if (pathname === '/.well-known/jwks.json' && identityKeys !== undefined) return keySet(request.method, identityKeys);
    return (await health(pathname)) ?? new Response(null, { status: 404 });
  };
};

/** Everybody to be trusted, in two forms. */
export const bundlePaths: ReadonlySet<string> = new Set(['/ca/bundle.pem', '/.well-known/spiffe-bundle']);

/** What a stranger learns of an error: the public text of its code. */
export const presentPublicly = (error: unknown): { status: number; code: string; message: string } => {
  const code = codeOf(error);
  return { status: errorTable[code].http, code, message: errorTable[code].public };
};

/** RFC 7517 §8.5.2: the media type of a JWK Set. */
const keySet = (method: string, keys: object): Response =>
  method === 'GET' || method === 'HEAD'
    ? new Response(method === 'HEAD' ? null : JSON.stringify(keys), { headers: { 'content-type': 'application/jwk-set+json', 'cache-control': 'public, max-age=300' } })
    : new Response(null, { status: 405, headers: { allow: 'GET, HEAD' } });
