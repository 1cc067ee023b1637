/** Why policy decides as it does, as data and as text. */
import type { Principal } from '../identity/principal.ts';
import { EffectiveGrants, authorize, grantsOf } from './authorize.ts';
import { tryBindings } from './bindings.ts';
import type { ConditionResult } from './bindings.ts';
import type { Action, Decision } from './decision.ts';
import type { Policy, Role, Rule } from './policy.ts';

export interface Explanation {
  readonly policy: { readonly file: string; readonly revision: string };
  readonly principal: { readonly id: string; readonly subject: string; readonly serial: string; readonly organizationalUnits: readonly string[] };
  readonly action: Action;
  readonly decision: Decision;
  /** Line of the rule that decided. */
  readonly line: number | undefined;
  readonly bindings: readonly { readonly path: string; readonly line: number; readonly roles: readonly string[]; readonly matched: boolean; readonly conditions: readonly ConditionResult[] }[];
  /** Roles that were not bound, but would have granted it. */
  readonly wouldBeGrantedBy: readonly string[];
  /** What the principal's roles grant of this class on this upstream. */
  readonly grantedHere: readonly string[];
}

export function explain(policy: Policy, principal: Principal, action: Action): Explanation {
  const grants = grantsOf(policy, principal);
  const decision = authorize(grants, action);
  return {
    policy: { file: policy.file, revision: policy.revision },
    principal: { id: principal.id, subject: principal.subject, serial: principal.serial, organizationalUnits: principal.organizationalUnits },
    action,
    decision,
    line: lineOf(policy, decision.rule),
    bindings: tryBindings(policy, principal).map(({ binding, matched, conditions }) => ({ path: binding.path, line: binding.line, roles: binding.roles, matched, conditions })),
    wouldBeGrantedBy: decision.effect === 'allow' ? [] : otherRoles(policy, grants.roles, action),
    grantedHere: patternsOf(policy, grants.roles, action),
  };
}

export function formatExplanation(explanation: Explanation): string {
  const { decision, principal, action, policy } = explanation;
  const at = explanation.line === undefined ? '' : ` (${policy.file}:${explanation.line})`;
  const lines = [
    `${decision.effect === 'allow' ? 'allowed' : 'denied'}: ${formatAction(action)}`,
    `  reason  ${decision.reason}: ${sentence(decision)}`,
    `  rule    ${decision.rule === undefined ? 'none matched' : decision.rule + at}`,
    `  roles   ${decision.roles.length === 0 ? 'none' : decision.roles.join(', ')}`,
    `  agent   ${principal.id}`,
    `  subject ${principal.subject}`,
    '',
    'bindings',
    ...(explanation.bindings.length === 0 ? ['  none in the policy'] : explanation.bindings.flatMap(formatBinding)),
  ];
  if (decision.effect === 'deny' && decision.roles.length > 0) {
    lines.push('', `granted on ${action.upstream}`, ...(explanation.grantedHere.length === 0 ? ['  nothing of this kind'] : explanation.grantedHere.map((pattern) => `  ${pattern}`)));
  }
  if (explanation.wouldBeGrantedBy.length > 0) lines.push('', `granted by ${explanation.wouldBeGrantedBy.join(', ')}, which this certificate does not hold`);
  return lines.join('\n');
}

function formatBinding(binding: Explanation['bindings'][number]): readonly string[] {
  const roles = binding.roles.join(', ');
  if (binding.matched) return [`  + ${binding.path} (line ${binding.line}) → ${roles}`];
  return [
    `  - ${binding.path} (line ${binding.line}) → ${roles}`,
    ...binding.conditions.filter((condition) => !condition.matched).map((condition) => `      ${condition.attribute}: wants ${condition.expected.join(' or ')}, has ${condition.actual.length === 0 ? 'none' : condition.actual.join(', ')}`),
  ];
}

function formatAction(action: Action): string {
  switch (action.kind) {
    case 'connect':
      return `connect to ${action.upstream}`;
    case 'logging':
      return `set the log level of ${action.upstream}`;
    case 'tool':
      return `tool ${action.name} of ${action.upstream}`;
    case 'prompt':
      return `prompt ${action.name} of ${action.upstream}`;
    case 'resource':
      return `resource ${action.uri} of ${action.upstream}`;
    case 'resourceTemplate':
      return `resource template ${action.uriTemplate} of ${action.upstream}`;
    default:
      return action satisfies never;
  }
}

function sentence(decision: Decision): string {
  switch (decision.reason) {
    case 'granted':
      return 'a grant of the roles matches';
    case 'noRole':
      return 'no binding matches the certificate';
    case 'noGrant':
      return 'no grant of the roles matches';
    case 'argumentsRefused':
      return decision.detail ?? 'the arguments do not satisfy the rule';
    case 'explicitDeny':
      return 'a deny matches, and it wins over every grant';
    case 'uriNotCanonical':
      return `${decision.detail ?? 'the URI is not canonical'}, so a pattern must not decide about it`;
    // Known only where the MCP server is: the gateway says so, `explain` cannot.
    case 'toolChanged':
      return 'the tool is not defined as it was when it was approved';
    case 'toolNew':
      return 'the tool is new and nobody has approved it';
    case 'toolUnlisted':
      return 'the MCP server lists no such tool';
    default:
      return decision.reason satisfies never;
  }
}

function lineOf(policy: Policy, rule: string | undefined): number | undefined {
  if (rule === undefined) return undefined;
  for (const role of policy.roles.values()) {
    for (const grant of [...role.grants, ...role.deny]) {
      if (rule === grant.path || rule === `${grant.path}.logging`) return grant.line;
      const found = [...grant.tools, ...grant.resources, ...grant.prompts].find(({ path }) => path === rule);
      if (found !== undefined) return found.line;
    }
  }
  return undefined;
}

function otherRoles(policy: Policy, held: readonly string[], action: Action): readonly string[] {
  const grantsOfRole = (name: string): boolean => authorize(new EffectiveGrants(policy, [name]), action).effect === 'allow';
  return [...policy.roles.keys()].filter((name) => !held.includes(name) && grantsOfRole(name));
}

function patternsOf(policy: Policy, roles: readonly string[], action: Action): readonly string[] {
  const rulesIn = (role: Role): readonly Rule[] =>
    role.grants
      .filter((grant) => grant.upstreams.some((glob) => glob.matches(action.upstream)))
      .flatMap((grant) => (action.kind === 'tool' ? grant.tools : action.kind === 'prompt' ? grant.prompts : action.kind === 'resource' || action.kind === 'resourceTemplate' ? grant.resources : []));
  return [...new Set(roles.flatMap((name) => {
    const role = policy.roles.get(name);
    return role === undefined ? [] : rulesIn(role).map((rule) => rule.glob.pattern + (rule.arguments === undefined ? '' : ' (with an argument rule)'));
  }))];
}
