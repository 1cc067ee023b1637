/** What anybody may fetch: CRLs and CA certificates as DER, and the trust bundle. */
import { hash } from 'node:crypto';
import type { CertificateAuthority } from '../authority.ts';
import { parseCrlPath } from '../crl-scope.ts';
import { CaError } from '../errors.ts';
import type { Hierarchy } from '../issuer.ts';
import type { Clock } from '../ports.ts';
import type { IssuerName } from '../requests.ts';
import { spiffeBundle, trustBundlePem } from '../trust-bundle.ts';
import { refuseMethod } from './json-exchange.ts';
import type { PresentError } from './json-exchange.ts';

export interface CrlHandlerOptions {
  readonly authority: Pick<CertificateAuthority, 'currentCrl' | 'issuerNamed'>;
  readonly clock: Clock;
  readonly present: PresentError;
}

/** Revocations reach caches within this time. */
const crlMaxAgeSeconds = 60;
const certificateMaxAgeSeconds = 3_600;
const bundleMaxAgeSeconds = 300;

/** `GET …/crl/<name of a CA>.crl`, a partition or a delta CRL as `crlPath` has it, RFC 5280 §4.2.1.13 and RFC 2585 §4. */
export const createCrlHandler =
  ({ authority, clock, present }: CrlHandlerOptions) =>
  async (request: Request): Promise<Response> => {
    const asked = parseCrlPath(/\/crl\/(.*)$/.exec(new URL(request.url).pathname)?.[1] ?? '');
    if (asked === undefined || authority.issuerNamed(asked.issuer) === undefined) return new Response(null, { status: 404 });
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod('GET, HEAD');
    try {
      const crl = await authority.currentCrl(asked.issuer, asked);
      const left = Math.floor((crl.nextUpdate.getTime() - clock.now().getTime()) / 1_000);
      return deliver(request, crl.der, {
        type: 'application/pkix-crl',
        // One number is one CRL, of one moment. Hashing 50 MB for every fetch would be a lever.
        tag: `"${crl.crlNumber}-${crl.thisUpdate.getTime() / 1_000}"`,
        modified: crl.thisUpdate,
        maxAge: Math.max(0, Math.min(crlMaxAgeSeconds, left)),
      });
    } catch (error) {
      // Of what is not partitioned so, or has no delta CRLs, there will be none.
      const partial = asked.kind === 'delta' || asked.scope.partitions > 1;
      return new Response(null, { status: partial && error instanceof CaError && error.code === 'ERR_CRL_STALE' ? 404 : present(error).status });
    }
  };

/** `GET …/ca/<name of a CA or of a cross-certificate>.cer`, RFC 5280 §4.2.2.1 and RFC 2585 §4. */
export const createCaCertificateHandler =
  ({ authority }: { readonly authority: Pick<CertificateAuthority, 'certificateNamed'> }) =>
  async (request: Request): Promise<Response> => {
    const which = issuerOf(request);
    if (which === undefined) return new Response(null, { status: 404 });
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod('GET, HEAD');
    const certificate = authority.certificateNamed(which);
    if (certificate === undefined) return new Response(null, { status: 404 });
    return deliver(request, certificate.der, { type: 'application/pkix-cert', tag: `"${certificate.thumbprint}"`, modified: certificate.notBefore, maxAge: certificateMaxAgeSeconds });
  };

/** `GET …/ca/bundle.pem` and `GET …/.well-known/spiffe-bundle`: everybody to be trusted at this time. */
export const createTrustBundleHandler = ({ authority }: { readonly authority: Pick<CertificateAuthority, 'hierarchy'> }) => {
  let last: { readonly of: Hierarchy; readonly pem: Delivery & { readonly body: Uint8Array }; readonly spiffe: Delivery & { readonly body: Uint8Array } } | undefined;
  return async (request: Request): Promise<Response> => {
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod('GET, HEAD');
    const { hierarchy } = authority;
    if (last?.of !== hierarchy) {
      const about = (text: string, type: string): Delivery & { readonly body: Uint8Array } => {
        const body = Buffer.from(text);
        return { body, type, tag: `"${hash('sha256', body, 'base64url')}"`, modified: modifiedAt(hierarchy), maxAge: bundleMaxAgeSeconds };
      };
      last = { of: hierarchy, pem: about(trustBundlePem(hierarchy), 'application/x-pem-file'), spiffe: about(JSON.stringify(spiffeBundle(hierarchy)), 'application/json') };
    }
    const { body, ...delivery } = new URL(request.url).pathname.endsWith('.pem') ? last.pem : last.spiffe;
    return deliver(request, body, delivery);
  };
};

/** When a CA came or went; of a hierarchy that never changed, when it was made. */
const modifiedAt = ({ issuers }: Hierarchy): Date => new Date(Math.max(...issuers.map(({ since, certificate }) => Math.max(since.getTime(), certificate.notBefore.getTime()))));

const issuerOf = (request: Request): IssuerName | undefined => /\/([a-z][a-z0-9-]{0,63})\.cer$/.exec(new URL(request.url).pathname)?.[1];

interface Delivery {
  readonly type: string;
  readonly tag: string;
  readonly modified: Date;
  readonly maxAge: number;
}

const deliver = (request: Request, der: Uint8Array, { type, tag, modified, maxAge }: Delivery): Response => {
  const headers = { etag: tag, 'last-modified': modified.toUTCString(), 'cache-control': `public, max-age=${maxAge}` };
  if (isUnchanged(request, tag, modified)) return new Response(null, { status: 304, headers });
  const body = request.method === 'HEAD' ? null : der.length <= pieceOctets ? (der.slice() as Uint8Array<ArrayBuffer>) : piecesOf(der);
  return new Response(body, { headers: { ...headers, 'content-type': type, 'content-length': String(der.length), 'x-content-type-options': 'nosniff' } });
};

const pieceOctets = 256 * 1024;

/** Copied as it is taken: a large CRL at once would hold the event loop. */
const piecesOf = (der: Uint8Array): ReadableStream<Uint8Array<ArrayBuffer>> => {
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(der.slice(at, at + pieceOctets) as Uint8Array<ArrayBuffer>);
      at += pieceOctets;
      if (at >= der.length) controller.close();
    },
  }, { highWaterMark: 1 });
};

/** RFC 9110 §13.2.2: If-Modified-Since counts only without If-None-Match. */
const isUnchanged = (request: Request, tag: string, modified: Date): boolean => {
  const named = namesTag(request, tag);
  if (named !== undefined) return named;
  const since = Date.parse(request.headers.get('if-modified-since') ?? '');
  return !Number.isNaN(since) && modified.getTime() <= since;
};

/** Whether If-None-Match names what we have; undefined without that header. */
export const namesTag = (request: Request, tag: string): boolean | undefined =>
  request.headers.get('if-none-match')?.split(',').some((each) => each.trim().replace(/^W\//, '') === tag || each.trim() === '*');
