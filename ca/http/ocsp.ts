/** OCSP over HTTP: RFC 6960 appendix A, with the caching of RFC 5019 §6. */
import type { OcspResponders } from '../ocsp-responders.ts';
import type { OcspAnswer, OcspShared } from '../ocsp.ts';
import type { Clock } from '../ports.ts';
import { MAX_OCSP_REQUEST_OCTETS } from '../x509/ocsp.ts';
import { refuseMethod } from './json-exchange.ts';
import { namesTag } from './publication.ts';

export interface OcspHandlerOptions {
  readonly responder: Pick<OcspResponders, 'respond'>;
  readonly clock: Clock;
}

/** Revocations reach caches within this time, as with CRLs. RFC 5019 §6.2 would allow all of the time until nextUpdate. */
const maxAgeSeconds = 60;

const requestType = 'application/ocsp-request';
const responseHeaders = { 'content-type': 'application/ocsp-response', 'x-content-type-options': 'nosniff' };

/** `POST …/ocsp`, and `GET …/ocsp/<base64 of the request>`. An error of OCSP is an answer with status 200. */
export const createOcspHandler =
  ({ responder, clock }: OcspHandlerOptions) =>
  async (request: Request): Promise<Response> => {
    const encoded = /\/ocsp(?:\/(.*))?$/.exec(new URL(request.url).pathname)?.[1] ?? '';
    if (request.method === 'POST') {
      if (encoded !== '') return refuseMethod('GET, HEAD');
      const type = request.headers.get('content-type') ?? '';
      if (type.split(';', 1)[0]?.trim().toLowerCase() !== requestType) return new Response(null, { status: 415, headers: { 'accept-post': requestType } });
      const body = await readBody(request);
      // RFC 9110 §9.3.3: an answer to POST is not for caches.
      return body === undefined ? new Response(null, { status: 413 }) : uncached(await responder.respond(body));
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod('GET, HEAD, POST');
    if (encoded === '') return refuseMethod('POST');
    const answer = await responder.respond(octetsOf(encoded));
    return answer.shared === undefined ? uncached(answer, request) : cached(answer, { shared: answer.shared, request, now: clock.now() });
  };

/** RFC 6960 A.1: base64, url-encoded. What is neither is no request, and is answered as one. */
const octetsOf = (encoded: string): Uint8Array => {
  if (encoded.length > MAX_OCSP_REQUEST_OCTETS * 4) return new Uint8Array(0);
  try {
    const text = decodeURIComponent(encoded);
    return /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? new Uint8Array(Buffer.from(text, 'base64')) : new Uint8Array(0);
  } catch {
    return new Uint8Array(0);
  }
};

/** Undefined when it is too long. */
const readBody = async (request: Request): Promise<Uint8Array | undefined> => {
  const announced = request.headers.get('content-length');
  if (announced !== null && Number(announced) <= MAX_OCSP_REQUEST_OCTETS) {
    // Several times faster than reading part by part, and as bounded: HTTP ends the body there.
    const body = new Uint8Array(await request.arrayBuffer());
    return body.length > MAX_OCSP_REQUEST_OCTETS ? undefined : body;
  }
  const parts: Uint8Array[] = [];
  let length = 0;
  if (request.body === null) return new Uint8Array(0);
  for await (const part of request.body) {
    length += part.length;
    if (length > MAX_OCSP_REQUEST_OCTETS) return undefined;
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
};

const uncached = ({ der }: OcspAnswer, request?: Request): Response =>
  new Response(request?.method === 'HEAD' ? null : new Uint8Array(der), { headers: { ...responseHeaders, 'content-length': String(der.length), 'cache-control': 'no-store' } });

/**
 * RFC 5019 §6.2, but Expires says what max-age says: a cache that knows only the one must not hide a
 * revocation for longer. Only the tag decides whether an answer is unchanged, since two of one second may differ.
 */
const cached = ({ der }: OcspAnswer, { shared, request, now }: { readonly shared: OcspShared; readonly request: Request; readonly now: Date }): Response => {
  const left = Math.floor((shared.nextUpdate.getTime() - now.getTime()) / 1_000);
  const maxAge = Math.max(0, Math.min(maxAgeSeconds, left));
  const headers = {
    etag: shared.tag,
    'last-modified': shared.thisUpdate.toUTCString(),
    expires: new Date(now.getTime() + maxAge * 1_000).toUTCString(),
    'cache-control': `public, max-age=${maxAge}, no-transform, must-revalidate`,
  };
  if (namesTag(request, shared.tag) === true) return new Response(null, { status: 304, headers });
  const body = request.method === 'HEAD' ? null : new Uint8Array(der);
  return new Response(body, { headers: { ...responseHeaders, ...headers, 'content-length': String(der.length) } });
};
