/** The one place where messages meet policy: what is let through is proven by a type only this file makes. */
import { hash } from 'node:crypto';
import type { AuditEvent, Clock } from '../../ca/ports.ts';
import { canonicalJson } from '../audit/entry.ts';
import { SallyportError } from '../errors.ts';
import type { GateErrorCode } from '../errors.ts';
import { agentName } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';
import { hasLookAlikes } from '../mcp/look-alike.ts';
import { actionsOf } from '../mcp/method-table.ts';
import type { JsonRpcMessage, RequestId } from '../mcp/message.ts';
import type { Finding, OpenedMessages } from '../mcp/open-sealed.ts';
import type { Era } from '../mcp/revisions.ts';
import { authorize, grantsOf } from '../policy/authorize.ts';
import type { EffectiveGrants } from '../policy/authorize.ts';
import type { Action, Decision, DecisionReason } from '../policy/decision.ts';
import type { Policy } from '../policy/policy.ts';

declare const authorized: unique symbol;

/** Messages that policy allows this principal to send to this upstream. */
export interface AuthorizedMessages {
  readonly [authorized]: true;
  readonly messages: readonly JsonRpcMessage[];
}

export type Admission =
  | { readonly outcome: 'admitted'; readonly call: AuthorizedMessages; readonly decisions: readonly DecidedMessage[] }
  /** Nothing is forwarded; each request gets its code. A notification or response has no answer. */
  | { readonly outcome: 'refused'; readonly answers: readonly { readonly id: RequestId; readonly code: GateErrorCode }[] };

export interface DecidedMessage {
  readonly message: JsonRpcMessage;
  readonly decision: Decision;
  readonly action: Action | undefined;
}

/** Where decisions are written. `available` is false while entries cannot be stored: then nothing is allowed. */
export interface Evidence {
  readonly available: boolean;
  enqueue(event: AuditEvent): void;
}

export interface Caller {
  readonly principal: Principal;
  /** Empty when no upstream is behind the path asked for. */
  readonly upstream: string;
  readonly session: string | undefined;
  readonly address: string | undefined;
  /** Id of the proxy that the request came through. */
  readonly via?: string | undefined;
}

export interface GateOptions {
  readonly policy: Policy;
  readonly evidence: Evidence;
  readonly clock: Clock;
  /** `digest` writes the SHA-256 of tool arguments to the audit log, `full` the arguments too. */
  readonly auditArguments: 'digest' | 'full';
  /** Why a tool that policy grants is refused all the same, if it is. */
  readonly objectionTo?: ((caller: Caller, tool: string) => DecisionReason | undefined) | undefined;
}

/** A gate as an endpoint knows it. */
export interface EndpointGate extends Pick<Gate, 'decide' | 'admit' | 'assertRecording' | 'record' | 'recordRefusal'> {
  grantsOf(principal: Principal): Pick<EffectiveGrants, 'roles' | 'limits' | 'has' | 'hasAll'>;
}

/** Decision on messages that need no grant beyond a principal in its own session. */
const ownSession: Decision = { effect: 'allow', reason: 'granted', rule: undefined, roles: [] };

export class Gate {
  readonly #evidence: Evidence;
  readonly #clock: Clock;
  readonly #auditArguments: 'digest' | 'full';
  readonly #objectionTo: NonNullable<GateOptions['objectionTo']>;
  #policy: Policy;
  #compiled = new WeakMap<Principal, EffectiveGrants>();

  constructor(options: GateOptions) {
    this.#policy = options.policy;
    this.#evidence = options.evidence;
    this.#clock = options.clock;
    this.#auditArguments = options.auditArguments;
    this.#objectionTo = options.objectionTo ?? (() => undefined);
  }

  get policy(): Policy {
    return this.#policy;
  }

  /** Takes effect for the next message and for what open streams still carry. */
  replacePolicy(policy: Policy): void {
    this.#policy = policy;
    this.#compiled = new WeakMap();
  }

  decide(principal: Principal, action: Action): Decision {
    return authorize(this.grantsOf(principal), action);
  }

  grantsOf(principal: Principal): EffectiveGrants {
    let grants = this.#compiled.get(principal);
    if (grants === undefined) {
      grants = grantsOf(this.#policy, principal);
      this.#compiled.set(principal, grants);
    }
    return grants;
  }

  /**
   * Decides all messages of one body. One refused message refuses the body: a batch is executed
   * whole or not at all, so that a denied call cannot ride along (mcp.md row 1).
   * @throws SallyportError `ERR_AUDIT_UNAVAILABLE` while decisions cannot be recorded
   */
  admit(caller: Caller, { messages, exactNumbers, findings }: Pick<OpenedMessages, 'messages' | 'exactNumbers' | 'findings'>, era: Era): Admission {
    this.assertRecording();
    const decided = messages.map((message, index) => this.#decideMessage(caller, message, { exactNumbers, era, finding: findings?.[index] }));
    if (decided.every(({ code }) => code === undefined)) {
      // The assertion is the proof: every message above was decided and allowed.
      return { outcome: 'admitted', call: { messages } as AuthorizedMessages, decisions: decided };
    }
    const answers: { id: RequestId; code: GateErrorCode }[] = [];
    for (const one of decided) {
      const code = one.code ?? 'ERR_MCP_BATCH_REFUSED';
      // Where policy was not what refused, the code says all there is to say.
      const ofPolicy = one.code === 'ERR_MCP_DENIED' || (one.code !== undefined && one.action !== undefined);
      this.record(caller, one, { outcome: 'denied', reason: ofPolicy ? one.decision.reason : code });
      if (one.message.kind === 'request') answers.push({ id: one.message.id, code });
    }
    return { outcome: 'refused', answers };
  }

  /** @throws SallyportError `ERR_AUDIT_UNAVAILABLE` while decisions cannot be recorded */
  assertRecording(): void {
    if (!this.#evidence.available) {
      throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'decisions cannot be recorded, so nothing is allowed: see the log for the store error');
    }
  }

  /** Writes one `request.decided` entry. Never the arguments themselves unless configured. */
  record(caller: Caller, decided: DecidedMessage, facts: { outcome: AuditEvent['outcome']; reason?: string | undefined; durationMs?: number | undefined }): void {
    const { message, decision, action } = decided;
    if (message.kind === 'response') return;
    const given = message.method === 'tools/call' ? message.params?.arguments : undefined;
    const canonical = given === undefined ? undefined : canonicalJson(given);
    this.#evidence.enqueue({
      action: 'request.decided',
      time: this.#clock.now(),
      ...whoOf(caller),
      ...facts,
      reason: facts.reason ?? decision.reason,
      roles: this.grantsOf(caller.principal).roles,
      method: message.method,
      name: action === undefined ? undefined : recordedName(nameOf(action)),
      rule: decision.rule,
      argumentDigest: canonical === undefined ? undefined : `sha256:${hash('sha256', canonical, 'hex')}`,
      detail: detailOf(decision, this.#auditArguments === 'full' ? canonical : undefined, caller.via),
    });
  }

  /** Writes an entry about a request that was refused before its messages could be decided. */
  recordRefusal(caller: Caller, reason: string): void {
    this.#evidence.enqueue({ action: 'request.refused', outcome: 'denied', time: this.#clock.now(), ...whoOf(caller), reason, ...(caller.via === undefined ? {} : { detail: { proxy: caller.via } }) });
  }

  #decideMessage(caller: Caller, message: JsonRpcMessage, { exactNumbers, era, finding }: { exactNumbers: boolean; era: Era; finding: Finding | undefined }): DecidedMessage & { readonly code: GateErrorCode | undefined } {
    const gate = actionsOf(caller.upstream, message, era, finding);
    const connected = this.decide(caller.principal, { kind: 'connect', upstream: caller.upstream });
    if (connected.effect === 'deny') return { message, decision: connected, action: undefined, code: 'ERR_MCP_DENIED' };
    if (gate.kind === 'unknown' || gate.kind === 'refused') {
      return { message, decision: { ...connected, effect: 'deny', reason: 'noGrant', rule: undefined }, action: undefined, code: gate.kind === 'unknown' ? 'ERR_MCP_METHOD' : gate.code };
    }
    if (gate.kind === 'pass') return { message, decision: ownSession, action: undefined, code: undefined };
    let last: { action: Action; decision: Decision } | undefined;
    for (const named of gate.actions) {
      const action = named.kind === 'tool' && (!exactNumbers || hasLookAlikes(named.arguments)) ? { ...named, ambiguousArguments: true } : named;
      const decision = this.#objected(caller, action, this.decide(caller.principal, action));
      if (decision.effect === 'deny') {
        return { message, decision, action, code: gate.deniedAs ?? (decision.reason === 'argumentsRefused' ? 'ERR_MCP_ARGUMENTS' : 'ERR_MCP_DENIED') };
      }
      last = { action, decision };
    }
    return { message, decision: last?.decision ?? connected, action: last?.action, code: undefined };
  }

  #objected(caller: Caller, action: Action, decision: Decision): Decision {
    const reason = decision.effect === 'allow' && action.kind === 'tool' ? this.#objectionTo(caller, action.name) : undefined;
    return reason === undefined ? decision : { ...decision, effect: 'deny', reason };
  }
}

/** Who asked, in the audit log's terms. */
export const whoOf = (caller: Caller): Pick<AuditEvent, 'actor' | 'agent' | 'subject' | 'serial' | 'issuer' | 'thumbprint' | 'upstream' | 'session' | 'address'> => ({
  actor: caller.principal.id,
  agent: agentName(caller.principal),
  subject: caller.principal.subject,
  serial: caller.principal.serial,
  issuer: caller.principal.issuerId,
  thumbprint: caller.principal.thumbprint,
  upstream: caller.upstream === '' ? undefined : caller.upstream,
  // A session id is a bearer secret of its principal: the log holds what identifies it, not what opens it.
  session: caller.session === undefined ? undefined : hash('sha256', caller.session, 'hex').slice(0, 16),
  address: caller.address,
});

const nameOf = (action: Action): string | undefined => {
  switch (action.kind) {
    case 'tool':
    case 'prompt':
      return action.name;
    case 'resource':
      return action.uri;
    case 'resourceTemplate':
      return action.uriTemplate;
    default:
      return undefined;
  }
};

/** A longer name than policy ever allows is told by its beginning and its hash, so that nobody fills the log with names. */
const recordedName = (name: string | undefined): string | undefined =>
  name === undefined || name.length <= maxNameLength ? name : `${name.slice(0, 256).toWellFormed()}… (${name.length} characters, sha256:${hash('sha256', name, 'hex')})`;

/** No tool, prompt or URI has more (see `authorize`). */
const maxNameLength = 8_192;

/** A detail may name what the arguments call a property. */
const maxDetailLength = 1_024;

const detailOf = (decision: Decision, args: string | undefined, proxy: string | undefined): AuditEvent['detail'] => {
  if (decision.detail === undefined && args === undefined && proxy === undefined) return undefined;
  return { ...(decision.detail === undefined ? {} : { policy: decision.detail.slice(0, maxDetailLength).toWellFormed() }), ...(args === undefined ? {} : { arguments: args }), ...(proxy === undefined ? {} : { proxy }) };
};
