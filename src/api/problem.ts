/** Errors as RFC 9457 has them, with our codes. */
import { z } from 'zod';
import { CodedError } from '../../ca/errors.ts';
import { SallyportError, codeOf, errorTable } from '../errors.ts';
import type { problem as problemSchema } from './schemas.ts';

/** `detail` is for admins: to everybody else the code and its public text must do. */
export const problemOf = (error: unknown, audience: 'admin' | 'anybody'): z.output<typeof problemSchema> => {
  const code = codeOf(error);
  const { http, public: title } = errorTable[code];
  const problems = error instanceof CodedError ? error.facts['problems'] : undefined;
  // What is wrong inside is for the log.
  const detail = audience === 'admin' && http < 500 && error instanceof Error ? error.message : undefined;
  const request = code === 'ERR_REQUEST_PENDING' && error instanceof CodedError ? error.facts['request'] : undefined;
  return { type: `urn:sallyport:error:${code}`, title, status: http, code, ...(detail === undefined ? {} : { detail }), ...(typeof request === 'string' ? { request } : {}), ...(Array.isArray(problems) && problems.length > 0 && detail !== undefined ? { problems: [...(problems as readonly string[])] } : {}) };
};

export const problemResponse = (error: unknown, audience: 'admin' | 'anybody', headers: Readonly<Record<string, string>> = {}): Response => {
  const problem = problemOf(error, audience);
  const wait = error instanceof CodedError ? error.facts['retryAfterSeconds'] : undefined;
  return new Response(`${JSON.stringify(problem)}\n`, { status: problem.status, headers: { ...headers, ...commonHeaders, ...(typeof wait === 'number' ? { 'retry-after': String(wait) } : {}), 'content-type': 'application/problem+json' } });
};

export const jsonResponse = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Response =>
  new Response(`${JSON.stringify(body)}\n`, { status, headers: { ...headers, ...commonHeaders, 'content-type': 'application/json' } });

const commonHeaders = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' };

/** What a schema refuses is the caller's to mend, field by field. */
export const inputProblem = (error: unknown): unknown => {
  if (!(error instanceof z.ZodError)) return error;
  const problems = error.issues.slice(0, 20).map((issue) => `${issue.path.length === 0 ? 'request' : issue.path.map(String).join('.')}: ${issue.message}`);
  return new SallyportError('ERR_API_REQUEST', problems[0] ?? 'the request does not have the form that is described', { facts: { problems } });
};
