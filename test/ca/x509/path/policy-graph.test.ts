/** Our graph against the tree of RFC 5280 §6.1, written down here word by word. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ANY_POLICY } from '../../../../ca/x509/path/policy-extension.ts';
import { concludedPolicies, initialPolicyState, policyHolds, preparedForNext, withPolicies } from '../../../../ca/x509/path/policy-graph.ts';
import { authority, inhibitAnyPolicy, judge, keyNumber, leaf, policies, policyConstraints, policyMappings, root } from './path-fixture.ts';
import type { PolicyExtensions } from '../../../../ca/x509/path/policy-extension.ts';
import type { PolicyInputs } from '../../../../ca/x509/path/policy-graph.ts';

interface Step extends PolicyExtensions {
  readonly selfIssued: boolean;
}

function graph(path: readonly Step[], inputs: PolicyInputs): readonly string[] | 'refused' {
  let state = initialPolicyState(path.length, inputs);
  for (const [index, step] of path.entries()) {
    const final = index === path.length - 1;
    state = withPolicies(state, step, { selfIssued: step.selfIssued, final });
    if (!policyHolds(state)) return 'refused';
    if (final) return concludedPolicies(state, step, inputs)?.toSorted() ?? 'refused';
    const next = preparedForNext(state, step, step);
    if (next === undefined) return 'refused';
    state = next;
  }
  return 'refused';
}

interface TreeNode {
  readonly policy: string;
  expected: Set<string>;
  readonly parent: TreeNode | undefined;
  readonly children: TreeNode[];
}

const childOf = (parent: TreeNode, policy: string, expected: Iterable<string>): TreeNode => {
  const node: TreeNode = { policy, expected: new Set(expected), parent, children: [] };
  parent.children.push(node);
  return node;
};

const atDepth = (node: TreeNode, depth: number): readonly TreeNode[] => (depth === 0 ? [node] : node.children.flatMap((child) => atDepth(child, depth - 1)));

const remove = (node: TreeNode): void => {
  node.parent?.children.splice(node.parent.children.indexOf(node), 1);
};

/** Removes nodes above `depth` that have no children; true when nothing is left. */
const pruned = (top: TreeNode, depth: number): boolean => {
  for (let level = depth - 1; level >= 1; level--) for (const node of atDepth(top, level)) if (node.children.length === 0) remove(node);
  return top.children.length === 0 && depth > 0;
};

function tree(path: readonly Step[], inputs: PolicyInputs): readonly string[] | 'refused' {
  const n = path.length;
  const initial = inputs.initialPolicySet ?? [ANY_POLICY];
  let top: TreeNode | undefined = { policy: ANY_POLICY, expected: new Set([ANY_POLICY]), parent: undefined, children: [] };
  let explicit = inputs.explicitPolicy === 'required' ? 0 : n + 1;
  let inhibitAny = inputs.anyPolicy === 'inhibited' ? 0 : n + 1;
  let mapping = inputs.policyMapping === 'inhibited' ? 0 : n + 1;
  for (const [index, step] of path.entries()) {
    const i = index + 1;
    if (step.policies === undefined) top = undefined;
    else if (top !== undefined) {
      const above = atDepth(top, i - 1);
      for (const policy of step.policies) {
        if (policy === ANY_POLICY) continue;
        let matched = false;
        for (const node of above) {
          if (!node.expected.has(policy)) continue;
          childOf(node, policy, [policy]);
          matched = true;
        }
        if (!matched) for (const node of above) if (node.policy === ANY_POLICY) childOf(node, policy, [policy]);
      }
      if (step.policies.has(ANY_POLICY) && (inhibitAny > 0 || (i < n && step.selfIssued))) {
        for (const node of above) for (const wanted of node.expected) if (!node.children.some(({ policy }) => policy === wanted)) childOf(node, wanted, [wanted]);
      }
      if (pruned(top, i)) top = undefined;
    }
    if (explicit === 0 && top === undefined) return 'refused';
    if (i === n) {
      if (explicit !== 0) explicit--;
      if (step.requireExplicitPolicy === 0) explicit = 0;
      break;
    }
    for (const [from, to] of step.mappings) {
      if (from === ANY_POLICY || to.has(ANY_POLICY)) return 'refused';
      if (top === undefined) continue;
      const here = atDepth(top, i);
      const same = here.filter(({ policy }) => policy === from);
      if (mapping > 0) {
        for (const node of same) node.expected = new Set(to);
        const any = here.find(({ policy }) => policy === ANY_POLICY);
        if (same.length === 0 && any?.parent !== undefined) childOf(any.parent, from, to);
      } else {
        for (const node of same) remove(node);
        if (pruned(top, i)) top = undefined;
      }
    }
    if (!step.selfIssued) {
      if (explicit > 0) explicit--;
      if (mapping > 0) mapping--;
      if (inhibitAny > 0) inhibitAny--;
    }
    explicit = Math.min(explicit, step.requireExplicitPolicy ?? explicit);
    mapping = Math.min(mapping, step.inhibitPolicyMapping ?? mapping);
    inhibitAny = Math.min(inhibitAny, step.inhibitAnyPolicy ?? inhibitAny);
  }
  // §6.1.5 (g)
  const fromAny = (): readonly TreeNode[] => (top === undefined ? [] : Array.from({ length: n }, (_, depth) => atDepth(top as TreeNode, depth + 1)).flat().filter((node) => node.parent?.policy === ANY_POLICY));
  if (top !== undefined && !initial.includes(ANY_POLICY)) {
    const set = new Set(fromAny().map(({ policy }) => policy));
    for (const node of fromAny()) if (node.policy !== ANY_POLICY && !initial.includes(node.policy)) remove(node);
    const last = atDepth(top, n).find(({ policy }) => policy === ANY_POLICY);
    if (last?.parent !== undefined) {
      for (const policy of initial) if (!set.has(policy)) childOf(last.parent, policy, [policy]);
      remove(last);
    }
    if (pruned(top, n)) top = undefined;
  }
  if (explicit === 0 && top === undefined) return 'refused';
  // The user-constrained policies: where paths to the last level leave anyPolicy.
  const leaves = top === undefined ? [] : atDepth(top, n);
  return [...new Set(leaves.map(originOf))].toSorted();
}

/** The policy of the first ancestor below anyPolicy. */
const originOf = (node: TreeNode): string => (node.parent === undefined || node.parent.policy === ANY_POLICY ? node.policy : originOf(node.parent));

const policy = fc.constantFrom('1.2.1', '1.2.2', '1.2.3', '1.2.4');
const skip = fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined, freq: 3 });
const step: fc.Arbitrary<Step> = fc.record({
  policies: fc.option(fc.uniqueArray(fc.oneof({ arbitrary: policy, weight: 4 }, { arbitrary: fc.constant(ANY_POLICY), weight: 2 }), { minLength: 1, maxLength: 4 }).map((list) => new Set(list)), { nil: undefined, freq: 12 }),
  mappings: fc.oneof({ arbitrary: fc.constant([]), weight: 2 }, fc.array(fc.tuple(policy, policy), { minLength: 1, maxLength: 4 })).map((pairs) => {
    const map = new Map<string, Set<string>>();
    for (const [from, to] of pairs) map.set(from, (map.get(from) ?? new Set()).add(to));
    return map;
  }),
  requireExplicitPolicy: skip,
  inhibitPolicyMapping: skip,
  inhibitAnyPolicy: skip,
  selfIssued: fc.boolean(),
});
const inputs: fc.Arbitrary<PolicyInputs> = fc.record({
  initialPolicySet: fc.oneof(fc.constant([ANY_POLICY]), fc.uniqueArray(policy, { minLength: 1, maxLength: 3 })),
  explicitPolicy: fc.constantFrom('required', 'optional'),
  policyMapping: fc.constantFrom('allowed', 'allowed', 'inhibited'),
  anyPolicy: fc.constantFrom('allowed', 'allowed', 'inhibited'),
});

test('the graph concludes what the tree of RFC 5280 does', () => {
  const seen = { refused: 0, policies: 0 };
  fc.assert(
    // Ten paths at a time.
    fc.property(fc.array(fc.tuple(fc.array(step, { minLength: 1, maxLength: 5 }), inputs), { minLength: 10, maxLength: 10 }), (cases) => {
      for (const [path, given] of cases) {
        const expected = tree(path, given);
        seen[expected === 'refused' ? 'refused' : 'policies'] += 1;
        expect(graph(path, given)).toEqual(expected);
      }
    }),
    { numRuns: 200 },
  );
  expect(Math.min(seen.refused, seen.policies)).toBeGreaterThan(200);
});

describe('in certificates', () => {
  const P1 = '1.2.3.1';
  const P2 = '1.2.3.2';
  const path = (ca: readonly Uint8Array[], ee: readonly Uint8Array[], policy: PolicyInputs = {}, above: readonly Uint8Array[] = []) => {
    const top = authority('Policy Root', { key: keyNumber(3), extensions: above });
    const issuer = authority('Policy CA', { issuer: top, key: keyNumber(4), extensions: ca });
    return judge(leaf(issuer, { extensions: ee }).certificate, { anchors: [top.certificate], intermediates: [issuer.certificate], policy });
  };
  const required: PolicyInputs = { explicitPolicy: 'required' };
  test.each([
    ['no policies at all, none required', [], [], {}, 'ok'],
    ['no policies at all, one required', [], [], required, 'ERR_PATH_POLICY'],
    ['the same in both', [policies([P1])], [policies([P1])], required, 'ok'],
    ['critical ones', [policies([P1], 'critical')], [policies([P1], 'critical')], required, 'ok'],
    ['different ones', [policies([P1])], [policies([P2])], required, 'ERR_PATH_POLICY'],
    ['different ones, none required', [policies([P1])], [policies([P2])], {}, 'ok'],
    ['different ones, a CA requires', [policies([P1]), policyConstraints({ require: 0 })], [policies([P2])], {}, 'ERR_PATH_POLICY'],
    ['different ones, a CA requires where the path ends', [policies([P1]), policyConstraints({ require: 1 })], [policies([P2])], {}, 'ERR_PATH_POLICY'],
    ['different ones, a CA requires later than that', [policies([P1]), policyConstraints({ require: 2 })], [policies([P2])], {}, 'ok'],
    ['mapped', [policies([P1]), policyMappings([[P1, P2]])], [policies([P2])], { ...required, initialPolicySet: [P1] }, 'ok'],
    ['mapped, and the subject domain is not the one wanted', [policies([P1]), policyMappings([[P1, P2]])], [policies([P2])], { ...required, initialPolicySet: [P2] }, 'ERR_PATH_POLICY'],
    ['mapped, and mapping is inhibited', [policies([P1]), policyMappings([[P1, P2]])], [policies([P2])], { ...required, policyMapping: 'inhibited' }, 'ERR_PATH_POLICY'],
    ['mapped from anyPolicy', [policies([P1]), policyMappings([[ANY_POLICY, P2]])], [policies([P2])], {}, 'ERR_PATH_POLICY'],
    ['anyPolicy of the CA', [policies([ANY_POLICY])], [policies([P1])], { ...required, initialPolicySet: [P1] }, 'ok'],
    ['anyPolicy of the CA, inhibited by the relying party', [policies([ANY_POLICY])], [policies([P1])], { ...required, anyPolicy: 'inhibited' }, 'ERR_PATH_POLICY'],
    ['anyPolicy of the leaf, inhibited by the CA', [policies([P1]), inhibitAnyPolicy(0)], [policies([ANY_POLICY])], required, 'ERR_PATH_POLICY'],
  ] as const)('%s', (_what, ca, ee, policy, expected) => {
    expect(path(ca, ee, policy)).toBe(expected);
  });
  test('what the anchor constrains holds below it', () => {
    expect(path([], [], {}, [policyConstraints({ require: 0 })])).toBe('ERR_PATH_POLICY');
    expect(path([policies([ANY_POLICY])], [policies([P1])], required, [inhibitAnyPolicy(0)])).toBe('ERR_PATH_POLICY');
    expect(judge(leaf(root).certificate)).toBe('ok');
  });
});
