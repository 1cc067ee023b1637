/**
 * The HTTP API of the authority. Each call: no browser, a known operation, a principal with a role for it, input of
 * the right form, a decision about what it is about, an entry in the audit log, and only then the work.
 */
import type { AuditEvent } from '../../ca/ports.ts';
import { adminRolesOf, decideAdmin } from '../admin/decision.ts';
import type { AdminDecision, AdminQuestion } from '../admin/decision.ts';
import { adminActions } from '../admin/roles.ts';
import { SallyportError, codeOf } from '../errors.ts';
import { parseStrictJson } from '../mcp/strict-json.ts';
import { RefusalBudget } from '../tls/refusal-budget.ts';
import type { VerifiedPeer } from '../tls/verified-peer.ts';
import { describeApi } from './openapi.ts';
import type { ApiWorld, CallFacts, Operation, PreparedCall } from './operation.ts';
import { operations } from './operations.ts';
import { inputProblem, jsonResponse, problemResponse } from './problem.ts';

export const apiPath = '/api/v1/';
const base = apiPath.slice(0, -1);

export interface ApiCaller {
  readonly address: string | undefined;
  readonly peer: VerifiedPeer | undefined;
}

/** Any agent may knock; what is refused to those without a role must not fill the audit log. */
const refusals = { perSecond: 5, burst: 50 };

export const createApiHandler = (world: ApiWorld): ((request: Request, caller: ApiCaller) => Promise<Response>) => {
  const budget = new RefusalBudget(world.clock, refusals);
  const routes = operations.map((operation) => ({ operation, pattern: patternOf(operation.path) }));
  const description = describeApi(world.version);

  const find = (method: string, path: string): { readonly operation: Operation; readonly params: Readonly<Record<string, string>> } => {
    const there = routes.flatMap(({ operation, pattern }) => {
      const match = pattern.exec(path);
      return match === null ? [] : [{ operation, params: { ...match.groups } }];
    });
    const found = there.find(({ operation }) => operation.method === method);
    if (found !== undefined) return found;
    if (there.length === 0) throw new SallyportError('ERR_HTTP_PATH', `there is nothing at ${base}${path}; ${base}/openapi.json describes what there is`);
    throw new SallyportError('ERR_HTTP_METHOD', `${base}${path} takes ${there.map(({ operation }) => operation.method).join(', ')}`);
  };

  return async (request, { peer, address }) => {
    if (peer === undefined) return problemResponse(new SallyportError('ERR_PEER_NO_CERTIFICATE', 'the API needs a client certificate'), 'anybody');
    const { principal } = peer;
    if (!(await world.isKnown(principal))) return problemResponse(new SallyportError('ERR_PEER_UNKNOWN_SERIAL', 'the certificate is not in the inventory of this authority'), 'anybody');
    const roles = adminRolesOf(world.admins, principal);
    const audience = roles.length > 0 ? 'admin' : 'anybody';
    try {
      refuseBrowsers(request.headers);
      const { pathname, searchParams } = new URL(request.url);
      const path = pathname.slice(base.length);
      if (path === '/openapi.json' && request.method === 'GET') return jsonResponse(200, description);
      const { operation, params } = find(request.method, path);
      const event = (facts: Pick<AuditEvent, 'outcome'> & Partial<AuditEvent>): AuditEvent => ({
        action: 'api.decided', time: world.clock.now(), actor: principal.id, subject: principal.subject, thumbprint: principal.thumbprint, roles, method: operation.method, name: operation.id, address, ...facts,
      });
      const deny = (reason: string): SallyportError => {
        const suppressed = audience === 'admin' ? 0 : budget.take();
        if (suppressed === undefined) return new SallyportError('ERR_LIMIT_REQUESTS', 'too many refused calls: try again in a moment');
        world.audit.enqueue(event({ outcome: 'denied', reason, ...(suppressed === 0 ? {} : { detail: { suppressed } }) }));
        return new SallyportError('ERR_API_DENIED', denials[reason] ?? 'no role of this certificate permits it', { facts: { reason, operation: operation.id } });
      };
      const decide = (question: Omit<AdminQuestion, 'action'>): AdminDecision => decideOperation(world, principal, operation, question);

      const early = decide({});
      if (early.effect === 'deny') throw deny(early.reason);
      const facts: CallFacts = { world, principal, permits: (target) => decide({ targets: [target] }).effect === 'allow', idempotencyKey: idempotencyKeyOf(request.headers, operation) };
      let prepared: PreparedCall;
      try {
        prepared = await operation.prepare({ params, query: queryOf(searchParams), body: await bodyOf(request) }, facts);
      } catch (error) {
        const problem = inputProblem(error);
        world.audit.enqueue(event({ outcome: 'failed', reason: codeOf(problem) }));
        throw problem;
      }
      const decision = decide({ targets: prepared.targets });
      if (decision.effect === 'deny') throw deny(decision.reason);
      const allowed = event({ outcome: 'allowed', rule: decision.rule, ...aboutOf(prepared) });
      // No entry, no change. What only reads waits for no disk, and is refused when nothing can be recorded.
      if (operation.changes) await world.audit.record(allowed);
      else if (world.audit.available) world.audit.enqueue(allowed);
      else throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'the audit log cannot be written');
      const { body, headers } = await prepared.run();
      return jsonResponse(operation.status ?? 200, body, headers);
    } catch (error) {
      return problemResponse(error, audience);
    }
  };
};

const decideOperation = ({ admins }: ApiWorld, principal: CallFacts['principal'], { action }: Operation, question: Omit<AdminQuestion, 'action'>): AdminDecision => {
  if (action !== 'anyRole') return decideAdmin(admins, principal, { action, ...question });
  // Whoever may do anything at all.
  const decisions = adminActions.map((each) => decideAdmin(admins, principal, { action: each }));
  return decisions.find(({ effect }) => effect === 'allow') ?? { effect: 'deny', roles: [], reason: 'noRole' };
};

const denials: Readonly<Record<string, string>> = {
  noRole: 'no role of this certificate is for this: add one under admins in sallyport.yaml',
  outsideScope: 'the role of this certificate is for other profiles or organizational units',
  ownCertificate: 'certificates of the authority itself are for the role admin without a scope',
  makesAdmin: 'the certificate would itself hold a role under admins: only the role admin without a scope makes such',
};

/** A page in a browser that has a client certificate must not act in its owner's name. There is no CORS. */
const refuseBrowsers = (headers: Headers): void => {
  const site = headers.get('sec-fetch-site');
  if (headers.has('origin') || (site !== null && site !== 'none')) throw new SallyportError('ERR_HTTP_ORIGIN', 'the API is not for web pages');
};

const idempotencyKeyOf = (headers: Headers, { idempotent }: Operation): string | undefined => {
  const key = headers.get('idempotency-key');
  if (key === null) return undefined;
  if (idempotent !== true) throw new SallyportError('ERR_API_REQUEST', 'this operation takes no Idempotency-Key');
  if (!/^[\x21-\x7e]{1,128}$/.test(key)) throw new SallyportError('ERR_API_REQUEST', 'an Idempotency-Key has 1 to 128 visible ASCII characters');
  return key;
};

const queryOf = (parameters: URLSearchParams): Readonly<Record<string, string>> => {
  const query: Record<string, string> = {};
  for (const [name, value] of parameters) {
    if (Object.hasOwn(query, name)) throw new SallyportError('ERR_API_REQUEST', `${name.slice(0, 64)} is given twice`);
    query[name] = value;
  }
  return query;
};

const bodyOf = async (request: Request): Promise<unknown> => {
  const octets = new Uint8Array(await request.arrayBuffer());
  if (octets.length === 0) return undefined;
  if (!/^application\/json(?:\s*;\s*charset="?utf-8"?)?$/i.test((request.headers.get('content-type') ?? '').trim())) throw new SallyportError('ERR_HTTP_MEDIA_TYPE', 'send it as application/json');
  try {
    return parseStrictJson(octets, { maxDepth: 8 });
  } catch (cause) {
    throw new SallyportError('ERR_API_REQUEST', `the body is unusable: ${cause instanceof Error ? cause.message : 'not JSON'}`, { cause });
  }
};

/** Of one certificate or token the entry says whose it is; of many how many. */
const aboutOf = ({ targets }: PreparedCall): Partial<AuditEvent> => {
  const [only] = targets;
  if (only === undefined) return {};
  return targets.length === 1 ? { agent: only.agent, detail: { profile: only.profile, organizationalUnits: only.organizationalUnits } } : { detail: { certificates: targets.length } };
};

const patternOf = (path: string): RegExp => new RegExp(`^${path.replaceAll(/\{([a-z]+)\}/g, '(?<$1>[^/]+)')}$`);
