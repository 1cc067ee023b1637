/** What an ACME client is told when something is wrong: RFC 8555 §6.7, RFC 9773 §7.4, as RFC 7807 documents. */
import { CaError } from '../errors.ts';
import type { PresentError } from '../http/json-exchange.ts';
import type { Identifier, ProblemDocument } from './ports.ts';

/** Types, and the HTTP status each goes with. */
const statuses = {
  accountDoesNotExist: 400,
  alreadyReplaced: 409,
  alreadyRevoked: 400,
  badCSR: 400,
  badNonce: 400,
  badPublicKey: 400,
  badRevocationReason: 400,
  badSignatureAlgorithm: 400,
  connection: 400,
  dns: 400,
  externalAccountRequired: 403,
  incorrectResponse: 403,
  invalidContact: 400,
  invalidProfile: 400,
  malformed: 400,
  orderNotReady: 403,
  rateLimited: 429,
  rejectedIdentifier: 400,
  serverInternal: 500,
  tls: 400,
  unauthorized: 403,
  unsupportedContact: 400,
  unsupportedIdentifier: 400,
} as const;

export type ProblemType = keyof typeof statuses;

export interface ProblemOptions {
  readonly status?: number | undefined;
  readonly identifier?: Identifier | undefined;
  readonly subproblems?: readonly ProblemDocument[] | undefined;
  /** Further members, such as `algorithms`. */
  readonly members?: Readonly<Record<string, unknown>> | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly cause?: unknown;
}

/** An answer rather than a defect: `detail` is for the client. */
export class AcmeProblem extends Error {
  readonly type: ProblemType;
  readonly status: number;
  readonly options: ProblemOptions;

  constructor(type: ProblemType, detail: string, options: ProblemOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'AcmeProblem';
    this.type = type;
    this.status = options.status ?? statuses[type];
    this.options = options;
  }

  /** As it is kept with a challenge or an order. */
  get document(): ProblemDocument {
    const { identifier, subproblems } = this.options;
    return {
      type: `urn:ietf:params:acme:error:${this.type}`,
      detail: this.message,
      status: this.status,
      ...(identifier === undefined ? {} : { identifier }),
      ...(subproblems === undefined ? {} : { subproblems }),
    };
  }
}

export const problemResponse = (problem: AcmeProblem): Response =>
  new Response(JSON.stringify({ ...problem.document, ...problem.options.members }), {
    status: problem.status,
    headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store', ...problem.options.headers },
  });

export const malformed = (detail: string, options: ProblemOptions = {}): AcmeProblem => new AcmeProblem('malformed', detail, options);

export const notFound = (what: string): AcmeProblem => malformed(`there is no such ${what}`, { status: 404 });

/** Refusals of the authority in ACME's words. What is about the request itself is told in full, the rest as the code table has it. */
const typeOfCode: Readonly<Record<string, ProblemType>> = {
  ERR_CSR_INVALID: 'badCSR',
  ERR_CSR_SIGNATURE: 'badCSR',
  ERR_PEM_INVALID: 'badCSR',
  ERR_DER_INVALID: 'badCSR',
  ERR_CA_CSR_CONTENT: 'badCSR',
  ERR_CA_KEY_REFUSED: 'badCSR',
  ERR_CA_KEY_REUSED: 'badCSR',
  ERR_KEY_ALGORITHM: 'badCSR',
  ERR_CA_NAME: 'rejectedIdentifier',
  ERR_CA_PROFILE: 'unauthorized',
  ERR_CA_LIMIT: 'rateLimited',
  ERR_CA_IDENTITY_REVOKED: 'unauthorized',
  ERR_REQUEST_DENIED: 'unauthorized',
  ERR_REQUEST_EXPIRED: 'unauthorized',
  ERR_REQUEST_QUEUE_FULL: 'rateLimited',
  ERR_CA_ALREADY_REVOKED: 'alreadyRevoked',
};

/** Anything thrown → what the client is told. */
export const problemOf = (error: unknown, present: PresentError): AcmeProblem => {
  if (error instanceof AcmeProblem) return error;
  const { status, message } = present(error);
  const type = error instanceof CaError ? typeOfCode[error.code] : undefined;
  if (type === undefined) return new AcmeProblem('serverInternal', message, { status: status === 503 ? 503 : 500, cause: error });
  return new AcmeProblem(type, error instanceof CaError && type === 'badCSR' ? error.message : message, { cause: error });
};
