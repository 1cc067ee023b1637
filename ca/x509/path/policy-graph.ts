/**
 * Certificate policies along a path: RFC 5280 §6.1 with the graph of RFC 9618 in place of the tree,
 * which a hostile path can make grow exponentially. Of the graph only the lowest level is kept:
 * each of its nodes remembers from which policies of the anchor's domain it descends, and that is
 * all the conclusion needs.
 */
import { ANY_POLICY } from './policy-extension.ts';
import type { PolicyExtensions } from './policy-extension.ts';

/** RFC 5280 §6.1.1 (c) and (e) to (g): what the relying party wants. */
export interface PolicyInputs {
  /** Acceptable policies. Absent: any. */
  readonly initialPolicySet?: readonly string[];
  /** Default `optional`: a path without a valid policy is valid too, unless a certificate demands one. */
  readonly explicitPolicy?: 'required' | 'optional';
  readonly policyMapping?: 'allowed' | 'inhibited';
  readonly anyPolicy?: 'allowed' | 'inhibited';
}

interface Node {
  /** Where its ancestors leave anyPolicy; `ANY_POLICY` for a node that never did. */
  readonly origins: ReadonlySet<string>;
  /** RFC 5280 §6.1.2 (a): what the next certificate must name. */
  readonly expected: ReadonlySet<string>;
}

/** By valid policy. Empty is the NULL of RFC 5280: no valid policy is left. */
type Level = ReadonlyMap<string, Node>;

export interface PolicyState {
  readonly level: Level;
  /** RFC 5280 §6.1.2 (d) to (f): certificates until the rule applies; 0 when it does. */
  readonly explicitPolicy: number;
  readonly inhibitAnyPolicy: number;
  readonly policyMapping: number;
}

const ROOT: Node = { origins: new Set([ANY_POLICY]), expected: new Set([ANY_POLICY]) };

/** RFC 5280 §6.1.2. `certificates` is the length of the path without the anchor. */
export function initialPolicyState(certificates: number, inputs: PolicyInputs): PolicyState {
  const later = certificates + 1;
  return {
    level: new Map([[ANY_POLICY, ROOT]]),
    explicitPolicy: inputs.explicitPolicy === 'required' ? 0 : later,
    inhibitAnyPolicy: inputs.anyPolicy === 'inhibited' ? 0 : later,
    policyMapping: inputs.policyMapping === 'inhibited' ? 0 : later,
  };
}

/** RFC 5280 §6.1.3 (d) and (e). After the `final` certificate none follows. */
export function withPolicies(state: PolicyState, { policies }: PolicyExtensions, { selfIssued, final }: { readonly selfIssued: boolean; readonly final: boolean }): PolicyState {
  if (policies === undefined) return { ...state, level: new Map() };
  const anyAllowed = state.inhibitAnyPolicy > 0 || (!final && selfIssued);
  return { ...state, level: nextLevel(state.level, policies, anyAllowed) };
}

/** RFC 5280 §6.1.3 (f) and §6.1.5 (g): false when a policy is demanded and none is left. */
export function policyHolds({ explicitPolicy, level }: PolicyState): boolean {
  return explicitPolicy > 0 || level.size > 0;
}

/** RFC 5280 §6.1.4 (a): undefined when a mapping names anyPolicy. Then (b), (h), (i) and (j). */
export function preparedForNext(state: PolicyState, extensions: PolicyExtensions, { selfIssued }: { readonly selfIssued: boolean }): PolicyState | undefined {
  const { mappings } = extensions;
  for (const [issuerDomain, subjectDomain] of mappings) if (issuerDomain === ANY_POLICY || subjectDomain.has(ANY_POLICY)) return undefined;
  const level = mapped(state.level, mappings, state.policyMapping > 0);
  const counted = (left: number) => (selfIssued || left === 0 ? left : left - 1);
  return { level, ...tightened({ explicitPolicy: counted(state.explicitPolicy), policyMapping: counted(state.policyMapping), inhibitAnyPolicy: counted(state.inhibitAnyPolicy) }, extensions) };
}

/** RFC 5937 §3.2: constraints that an anchor's certificate puts on the paths below it. */
export function constrainedByAnchor(state: PolicyState, extensions: PolicyExtensions): PolicyState {
  return { ...state, ...tightened(state, extensions) };
}

/** RFC 5280 §6.1.5: the policies of the anchor's domain that are valid and wanted; undefined when there must be one and is none. */
export function concludedPolicies(state: PolicyState, { requireExplicitPolicy }: PolicyExtensions, { initialPolicySet }: PolicyInputs): readonly string[] | undefined {
  // (a) and (b).
  const explicitPolicy = requireExplicitPolicy === 0 ? 0 : Math.max(0, state.explicitPolicy - 1);
  const authority = new Set<string>();
  for (const { origins } of state.level.values()) for (const origin of origins) authority.add(origin);
  // (g)(iii)(3): anyPolicy at the end stands for each policy that is wanted.
  const wanted = initialPolicySet === undefined || initialPolicySet.includes(ANY_POLICY) ? undefined : new Set(initialPolicySet);
  const policies = wanted === undefined ? [...authority] : [...wanted].filter((policy) => authority.has(ANY_POLICY) || authority.has(policy));
  return explicitPolicy > 0 || policies.length > 0 ? policies : undefined;
}

/** RFC 5280 §6.1.3 (d)(1) and (2). */
function nextLevel(level: Level, policies: ReadonlySet<string>, anyAllowed: boolean): Level {
  const expecting = new Map<string, Node[]>();
  for (const node of level.values()) {
    for (const policy of node.expected) {
      const parents = expecting.get(policy);
      if (parents === undefined) expecting.set(policy, [node]);
      else parents.push(node);
    }
  }
  const next = new Map<string, Node>();
  for (const policy of policies) {
    if (policy === ANY_POLICY) continue;
    const parents = expecting.get(policy);
    if (parents !== undefined) next.set(policy, childOf(parents, policy));
    else if (level.has(ANY_POLICY)) next.set(policy, { origins: new Set([policy]), expected: new Set([policy]) });
  }
  if (policies.has(ANY_POLICY) && anyAllowed) {
    for (const [policy, parents] of expecting) if (!next.has(policy)) next.set(policy, childOf(parents, policy));
  }
  return next;
}

function childOf(parents: readonly Node[], policy: string): Node {
  const [only, ...others] = parents;
  if (only !== undefined && others.length === 0) return { origins: only.origins, expected: new Set([policy]) };
  const origins = new Set<string>();
  for (const parent of parents) for (const origin of parent.origins) origins.add(origin);
  return { origins, expected: new Set([policy]) };
}

/** RFC 5280 §6.1.4 (b). */
function mapped(level: Level, mappings: PolicyExtensions['mappings'], allowed: boolean): Level {
  if (mappings.size === 0) return level;
  const next = new Map(level);
  for (const [issuerDomain, subjectDomain] of mappings) {
    const node = next.get(issuerDomain);
    if (!allowed) next.delete(issuerDomain);
    else if (node !== undefined) next.set(issuerDomain, { origins: node.origins, expected: subjectDomain });
    else if (next.has(ANY_POLICY)) next.set(issuerDomain, { origins: new Set([issuerDomain]), expected: subjectDomain });
  }
  return next;
}

type Counters = Pick<PolicyState, 'explicitPolicy' | 'inhibitAnyPolicy' | 'policyMapping'>;

/** RFC 5280 §6.1.4 (i) and (j). */
function tightened(counters: Counters, extensions: PolicyExtensions): Counters {
  return {
    explicitPolicy: Math.min(counters.explicitPolicy, extensions.requireExplicitPolicy ?? Infinity),
    policyMapping: Math.min(counters.policyMapping, extensions.inhibitPolicyMapping ?? Infinity),
    inhibitAnyPolicy: Math.min(counters.inhibitAnyPolicy, extensions.inhibitAnyPolicy ?? Infinity),
  };
}
