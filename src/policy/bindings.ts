/** Which roles a certificate holds, and why. */
import type { Principal } from '../identity/principal.ts';
import { attributeValues, conditionHolds, conditionsHold } from './conditions.ts';
import type { Binding, BindingAttribute, Policy } from './policy.ts';

export interface ConditionResult {
  readonly attribute: BindingAttribute;
  readonly expected: readonly string[];
  readonly actual: readonly string[];
  readonly matched: boolean;
}

export interface BindingResult {
  readonly binding: Binding;
  readonly matched: boolean;
  readonly conditions: readonly ConditionResult[];
}

/** Roles in the order of the policy, each once. */
export function rolesOf(policy: Policy, principal: Principal): readonly string[] {
  const held = new Set<string>();
  for (const binding of policy.bindings) {
    if (conditionsHold(binding.conditions, principal)) for (const role of binding.roles) held.add(role);
  }
  return [...policy.roles.keys()].filter((name) => held.has(name));
}

/** Every binding with what it expected and what the certificate has; for `policy explain`. */
export const tryBindings = (policy: Policy, principal: Principal): readonly BindingResult[] =>
  policy.bindings.map((binding) => ({
    binding,
    matched: conditionsHold(binding.conditions, principal),
    conditions: binding.conditions.map((condition) => ({
      attribute: condition.attribute,
      expected: condition.anyOf.map((glob) => glob.pattern),
      actual: attributeValues(principal, condition.attribute),
      matched: conditionHolds(condition, principal),
    })),
  }));
