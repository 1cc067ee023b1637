/**
 * Enrollment over Secure Transport (RFC 7030, RFC 8951): the same enrollment and renewal as elsewhere, in the words
 * that network equipment and other CAs' clients speak. A label in the path is the name of a profile.
 */
import type { CertificateAuthority } from '../authority.ts';
import { CaError } from '../errors.ts';
import type { KeyAlgorithm } from '../ports.ts';
import type { Profile } from '../profile.ts';
import type { CertificateKey, IssuedCertificate } from '../requests.ts';
import { encodeCertsOnly } from '../x509/cms.ts';
import { encodeCsrAttributes } from '../x509/csr-attributes.ts';
import { decodeBase64Body, encodeBase64Body } from './base64-body.ts';
import { readBody, refuseMethod, wordsFor } from './json-exchange.ts';
import type { PresentError } from './json-exchange.ts';

export type EstOperation = 'cacerts' | 'csrattrs' | 'simpleenroll' | 'simplereenroll';

export const estOperations: readonly EstOperation[] = ['cacerts', 'csrattrs', 'simpleenroll', 'simplereenroll'];

export interface EstHandlerOptions {
  readonly authority: Pick<CertificateAuthority, 'enroll' | 'renew' | 'profiles' | 'trusted' | 'crossCertificates'>;
  readonly present: PresentError;
  /** What clients are told to make keys with, where the profile takes it. */
  readonly keyAlgorithm: KeyAlgorithm;
}

/** Who asks for what. */
export interface EstCall {
  readonly operation: EstOperation;
  /** Profile named in the path. */
  readonly label: string | undefined;
  /** The certificate that was shown over TLS, of which the listener has seen proof; for a renewal it may have expired a moment ago. */
  readonly shown: CertificateKey | undefined;
  readonly address: string | undefined;
}

export const createEstHandler = ({ authority, present, keyAlgorithm }: EstHandlerOptions) => {
  const handlers: Readonly<Record<EstOperation, (request: Request, call: EstCall) => Promise<Response>>> = {
    cacerts: async (request) => {
      if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod('GET, HEAD');
      // RFC 7030 §4.1.3: the root, what leads to it, and what leads from one root to another.
      const certificates = [...authority.trusted('root'), ...authority.trusted('issuing'), ...authority.crossCertificates].map(({ certificate }) => certificate.der);
      return deliver(encodeCertsOnly(certificates), certsOnly);
    },
    csrattrs: async (request, { label = 'agent' }) => {
      if (request.method !== 'GET' && request.method !== 'HEAD') return refuseMethod('GET, HEAD');
      return deliver(encodeCsrAttributes(preferredKey(authority.profiles.get(label), keyAlgorithm)), 'application/csrattrs');
    },
    simpleenroll: async (request, { label, shown, address }) => {
      if (request.method !== 'POST') return refuseMethod('POST');
      const token = passwordOf(request.headers.get('authorization'));
      // RFC 7030 §3.3.2: a certificate that is good may stand for the token. It names its successor then, no other profile.
      if (token === undefined && shown === undefined) return challenge('give a one-time token as the password of HTTP Basic authentication, or show a certificate of this CA');
      const csr = decodeBase64Body(await readRequest(request));
      return issued(token !== undefined ? await authority.enroll({ token, csr, address, way: 'est', profile: label }) : await renewed(shown, csr, label));
    },
    simplereenroll: async (request, { label, shown }) => {
      if (request.method !== 'POST') return refuseMethod('POST');
      return issued(await renewed(shown, decodeBase64Body(await readRequest(request)), label));
    },
  };
  const renewed = (shown: CertificateKey | undefined, csr: Uint8Array, profile: string | undefined): Promise<IssuedCertificate> => {
    if (shown === undefined) throw new CaError('ERR_CA_CERTIFICATE_UNKNOWN', 'show the certificate that is to be renewed');
    return authority.renew(shown, { csr, way: 'est', profile });
  };

  return async (request: Request, call: EstCall): Promise<Response> => {
    try {
      const answer = await handlers[call.operation](request, call);
      return request.method === 'HEAD' ? new Response(null, { status: answer.status, headers: answer.headers }) : answer;
    } catch (error) {
      return refuse(error, present);
    }
  };
};

/** RFC 7030 §4.2.3. */
const certsOnly = 'application/pkcs7-mime; smime-type=certs-only';

const readRequest = async (request: Request): Promise<Uint8Array> => {
  const [type = ''] = (request.headers.get('content-type') ?? '').split(';', 1);
  // RFC 7030 §4.2.1.
  if (type.trim().toLowerCase() !== 'application/pkcs10') throw new CaError('ERR_CSR_INVALID', 'the request body is unusable: send it as application/pkcs10');
  return readBody(request);
};

/** RFC 7617. The user name is of no interest: the token knows whom it is for. */
const passwordOf = (authorization: string | null): string | undefined => {
  const [, encoded] = /^Basic +([A-Za-z0-9+/]+={0,2}) *$/i.exec(authorization ?? '') ?? [];
  const text = Buffer.from(encoded ?? '', 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return colon < 0 ? undefined : text.slice(colon + 1);
};

/** RFC 7030 §4.2.3: only the certificate that was issued. */
const issued = ({ der }: IssuedCertificate): Response => deliver(encodeCertsOnly([der]), certsOnly);

const deliver = (der: Uint8Array, type: string): Response => {
  const body = encodeBase64Body(der);
  // RFC 8951 §3: Content-Transfer-Encoding is no header of HTTP, and is not sent.
  return new Response(body, { headers: { 'content-type': type, 'content-length': String(body.length), 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' } });
};

/** RFC 7030 §3.2.3. */
const challenge = (why: string): Response => new Response(`${why}\n`, { status: 401, headers: { ...plain, 'www-authenticate': 'Basic realm="sallyport", charset="UTF-8"' } });

const plain = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' };

/** RFC 7030 §4.2.3: 202 while somebody has to approve; else the reason in words. */
const refuse = (error: unknown, present: PresentError): Response => {
  const { status, code, message } = present(error);
  if (code.startsWith('ERR_TOKEN_')) return challenge(`${code}: ${message}`);
  const after = error instanceof CaError ? error.facts['retryAfterSeconds'] : undefined;
  const request = error instanceof CaError ? error.facts['request'] : undefined;
  if (code === 'ERR_REQUEST_PENDING') return new Response(`${code}: ${message} (${String(request)})\n`, { status, headers: { ...plain, 'retry-after': String(after) } });
  return new Response(`${code}: ${wordsFor(error, { code, message })}\n`, { status, headers: plain });
};

const preferredKey = (profile: Profile | undefined, wanted: KeyAlgorithm): KeyAlgorithm => (profile === undefined || profile.keyAlgorithms.has(wanted) ? wanted : ([...profile.keyAlgorithms][0] ?? wanted));
