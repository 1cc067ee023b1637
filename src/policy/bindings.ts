/** Which roles a certificate holds, and why. */
import { ownTrust } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';
import type { Binding, BindingAttribute, Condition, Policy } from './policy.ts';

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
    if (bindingMatches(binding, principal)) for (const role of binding.roles) held.add(role);
  }
  return [...policy.roles.keys()].filter((name) => held.has(name));
}

/** Every binding with what it expected and what the certificate has; for `policy explain`. */
export const tryBindings = (policy: Policy, principal: Principal): readonly BindingResult[] =>
  policy.bindings.map((binding) => ({
    binding,
    matched: bindingMatches(binding, principal),
    conditions: binding.conditions.map((condition) => ({
      attribute: condition.attribute,
      expected: condition.anyOf.map((glob) => glob.pattern),
      actual: attributeValues(principal, condition.attribute),
      matched: conditionHolds(condition, principal),
    })),
  }));

/**
 * Every attribute must match; a binding without conditions cannot be loaded, and would match nobody
 * here. One that does not say whose certificates it is about is about those of our own CA: an OU that
 * another CA writes must not open what was meant for ours.
 */
const bindingMatches = (binding: Binding, principal: Principal): boolean =>
  binding.conditions.length > 0 &&
  (principal.trust === ownTrust || binding.conditions.some(({ attribute }) => attribute === 'trust')) &&
  binding.conditions.every((condition) => conditionHolds(condition, principal));

const conditionHolds = (condition: Condition, principal: Principal): boolean =>
  attributeValues(principal, condition.attribute).some((value) => condition.anyOf.some((glob) => glob.matches(value)));

function attributeValues(principal: Principal, attribute: BindingAttribute): readonly string[] {
  switch (attribute) {
    case 'trust':
      return [principal.trust];
    case 'organizationalUnit':
      return principal.organizationalUnits;
    case 'organization':
      return principal.organizations;
    case 'commonName':
      return principal.commonName === undefined ? [] : [principal.commonName];
    case 'uri':
      return principal.uris;
    case 'dns':
      return principal.dnsNames;
    case 'email':
      return principal.emails;
    case 'issuer':
      return [principal.issuerId];
    case 'serial':
      return [principal.serial];
    case 'thumbprint':
    case 'dangerouslyAnyCertificate':
      return [principal.thumbprint];
    default:
      return attribute satisfies never;
  }
}
