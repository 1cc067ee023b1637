/** JSON in, JSON out, for enrollment and renewal. */
import { CaError } from '../errors.ts';
import type { IssuedCertificate } from '../requests.ts';

/** What a peer may learn of an error; the application's code table decides. */
export type PresentError = (error: unknown) => { readonly status: number; readonly code: string; readonly message: string };

/** A request of 16 KiB in PEM, with room for a token. */
const maxBodyOctets = 64 * 1024;

/** Exactly these string members and no other. Refuses with `ERR_CSR_INVALID`. */
export const readMembers = async <Name extends string>(request: Request, names: readonly Name[]): Promise<Readonly<Record<Name, string>>> => {
  const type = request.headers.get('content-type') ?? '';
  if (!/^application\/json(?:\s*;\s*charset="?utf-8"?)?$/i.test(type.trim())) throw malformed('send it as application/json');
  const body = parse(await readBody(request));
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw malformed('send a JSON object');
  const members = new Map(Object.entries(body));
  for (const name of members.keys()) if (!names.some((known) => known === name)) throw malformed(`unknown member; known are ${names.join(', ')}`);
  const found: Partial<Record<Name, string>> = {};
  for (const name of names) {
    const value: unknown = members.get(name);
    if (typeof value !== 'string') throw malformed(`${name} must be a string`);
    found[name] = value;
  }
  return found as Readonly<Record<Name, string>>;
};

export const answer = (status: number, body: unknown): Response =>
  // Certificates are public, but nobody between should keep what belongs to one agent.
  new Response(`${JSON.stringify(body)}\n`, { status, headers: { 'content-type': 'application/json', 'cache-control': 'no-store' } });

/** Left out while there is but one root. */
export const crossed = ({ crossCertificates }: Pick<IssuedCertificate, 'crossCertificates'>): { readonly crossCertificates?: string } => (crossCertificates === undefined ? {} : { crossCertificates });

export const answerError = (error: unknown, present: PresentError): Response => {
  const { status, code, message } = present(error);
  if (code === 'ERR_REQUEST_PENDING' && error instanceof CaError) return answerPending(error);
  return answer(status, { error: { code, message: wordsFor(error, { code, message }) } });
};

/** Why somebody denied it was written for whoever asked. */
export const wordsFor = (error: unknown, { code, message }: { readonly code: string; readonly message: string }): string => {
  const reason = error instanceof CaError && code === 'ERR_REQUEST_DENIED' ? error.facts['reason'] : undefined;
  return reason === undefined ? message : `${message} (${String(reason)})`;
};

/** RFC 9110 §15.3.3: taken, and not decided yet. Asking again with the same token and key is how it is collected. */
const answerPending = ({ facts }: CaError): Response => {
  const { request, retryAfterSeconds, expiresAt } = facts;
  const response = answer(202, { pending: { request, retryAfterSeconds, expiresAt } });
  response.headers.set('retry-after', String(retryAfterSeconds));
  return response;
};

export const refuseMethod = (allowed: string): Response => new Response(null, { status: 405, headers: { allow: allowed } });

/** Refuses with `ERR_CSR_INVALID` what is longer than any request. */
export const readBody = async (request: Request): Promise<Uint8Array> => {
  const parts: Uint8Array[] = [];
  let length = 0;
  if (request.body !== null) {
    for await (const part of request.body) {
      length += part.length;
      if (length > maxBodyOctets) throw malformed(`longer than ${maxBodyOctets} octets`);
      parts.push(part);
    }
  }
  return Buffer.concat(parts);
};

const parse = (bytes: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    throw malformed('not JSON in UTF-8', cause);
  }
};

const malformed = (what: string, cause?: unknown): CaError => new CaError('ERR_CSR_INVALID', `the request body is unusable: ${what}`, { cause });
