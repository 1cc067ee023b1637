/**
 * The gate of the aggregate endpoint. What a message may do is decided, and recorded, by the gate of the upstream
 * that it goes to; here it is only made sure that there is one, so that a name without an upstream is answered as
 * one that is denied.
 */
import { SallyportError } from '../../errors.ts';
import type { GateErrorCode } from '../../errors.ts';
import type { Admission, AuthorizedMessages, Caller, DecidedMessage, EndpointGate, Gate } from '../gate.ts';
import type { Principal } from '../../identity/principal.ts';
import { actionsOf } from '../../mcp/method-table.ts';
import type { JsonRpcMessage, RequestId } from '../../mcp/message.ts';
import type { Finding, OpenedMessages } from '../../mcp/open-sealed.ts';
import type { Era } from '../../mcp/revisions.ts';
import type { Action, Decision } from '../../policy/decision.ts';
import { splitUri } from './names.ts';
import { routeOf } from './routing.ts';

export class AggregateGate implements EndpointGate {
  readonly #gate: Gate;
  readonly #members: readonly string[];

  constructor(gate: Gate, members: readonly string[]) {
    this.#gate = gate;
    this.#members = members;
  }

  /** Whether the principal has any grant on an upstream that takes part. */
  offers(principal: Principal, member: string): boolean {
    return this.#gate.decide(principal, { kind: 'connect', upstream: member }).effect === 'allow';
  }

  decide(principal: Principal, action: Action): Decision {
    const { roles } = this.#gate.grantsOf(principal);
    if (action.kind !== 'connect') return { effect: 'allow', reason: 'granted', rule: undefined, roles };
    const decisions = this.#members.map((upstream) => this.#gate.decide(principal, { kind: 'connect', upstream }));
    return decisions.find(({ effect }) => effect === 'allow') ?? decisions[0] ?? { effect: 'deny', reason: 'noGrant', rule: undefined, roles };
  }

  grantsOf(principal: Principal): ReturnType<EndpointGate['grantsOf']> {
    return { roles: this.#gate.grantsOf(principal).roles, limits: [], has: () => true, hasAll: () => true };
  }

  assertRecording(): void {
    this.#gate.assertRecording();
  }

  admit(caller: Caller, { messages, findings }: Pick<OpenedMessages, 'messages' | 'findings'>, era: Era): Admission {
    this.assertRecording();
    const decided = messages.map((message, index) => ({ message, ...this.#judge(caller, message, { era, finding: findings?.[index] }) }));
    if (decided.every(({ code }) => code === undefined)) {
      return { outcome: 'admitted', call: { messages } as AuthorizedMessages, decisions: decided };
    }
    const answers: { id: RequestId; code: GateErrorCode }[] = [];
    for (const one of decided) {
      const code = one.code ?? 'ERR_MCP_BATCH_REFUSED';
      this.#gate.record(caller, one, { outcome: 'denied', reason: one.code === 'ERR_MCP_DENIED' ? one.decision.reason : code });
      if (one.message.kind === 'request') answers.push({ id: one.message.id, code });
    }
    return { outcome: 'refused', answers };
  }

  /** What an upstream has answered its own gate writes. What it never got to see, or what came to nothing, is written here. */
  record(caller: Caller, decided: DecidedMessage, facts: Parameters<Gate['record']>[2]): void {
    const { message } = decided;
    const goesOn = message.kind === 'request' && routeOf(message.method, message.params ?? {}).kind !== 'none';
    if (!goesOn || facts.outcome !== 'allowed') this.#gate.record(caller, decided, facts);
  }

  recordRefusal(caller: Caller, reason: string): void {
    this.#gate.recordRefusal(caller, reason);
  }

  #judge({ principal, upstream }: Caller, message: JsonRpcMessage, { era, finding }: { readonly era: Era; readonly finding: Finding | undefined }): Omit<DecidedMessage, 'message'> & { readonly code: GateErrorCode | undefined } {
    const decision = this.decide(principal, { kind: 'connect', upstream });
    if (decision.effect === 'deny') return { decision, action: undefined, code: 'ERR_MCP_DENIED' };
    // Throws what any endpoint throws for a request that lacks what it needs.
    const gate = actionsOf(upstream, message, era, finding);
    const denied: Decision = { ...decision, effect: 'deny', reason: 'noGrant', rule: undefined };
    if (gate.kind === 'unknown') return { decision: denied, action: undefined, code: 'ERR_MCP_METHOD' };
    if (gate.kind === 'refused') return { decision: denied, action: undefined, code: gate.code };
    if (gate.kind === 'pass' || message.kind !== 'request') return { decision, action: undefined, code: undefined };
    const member = memberIn(message.method, message.params ?? {});
    if (member === undefined || (this.#members.includes(member) && this.offers(principal, member))) return { decision, action: undefined, code: undefined };
    return { decision: denied, action: undefined, code: gate.deniedAs ?? 'ERR_MCP_DENIED' };
  }
}

/** The upstream a request names; `''` when it should name one and does not; undefined when there is none to name. */
const memberIn = (method: string, params: Readonly<Record<string, unknown>>): string | undefined => {
  if (method === 'resources/subscribe' || method === 'resources/unsubscribe') {
    if (typeof params.uri !== 'string') throw new SallyportError('ERR_MCP_INVALID_REQUEST', 'params.uri must be a string');
    return splitUri(params.uri)?.member ?? '';
  }
  const route = routeOf(method, params);
  if (route.kind === 'one') return route.member;
  return named.has(method) ? '' : undefined;
};

const named: ReadonlySet<string> = new Set(['tools/call', 'prompts/get', 'resources/read', 'completion/complete', 'tasks/get', 'tasks/update', 'tasks/cancel']);
