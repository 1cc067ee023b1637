/** `when` of a binding, compiled, and held against a certificate. */
import { ownTrust } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';
import { compileGlob } from './glob.ts';
import type { BindingAttribute, Condition } from './policy.ts';
import type { WhenInput } from './schema.ts';

export const compileConditions = (when: WhenInput): readonly Condition[] => {
  const conditions: Condition[] = [];
  for (const [attribute, values] of Object.entries(when) as [BindingAttribute, readonly string[] | true | undefined][]) {
    if (values === undefined) continue;
    const texts = values === true ? ['*'] : values;
    conditions.push({ attribute, anyOf: texts.map((text) => compileGlob(text, attribute === 'uri' ? 'uri' : 'name')) });
  }
  return conditions;
};

/**
 * Every one must hold; without any, nobody is meant. Those that do not say whose certificates they are
 * about are about those of our own CA: an OU that another CA writes must not open what was meant for ours.
 */
export const conditionsHold = (conditions: readonly Condition[], principal: Principal): boolean =>
  conditions.length > 0 &&
  (principal.trust === ownTrust || conditions.some(({ attribute }) => attribute === 'trust')) &&
  conditions.every((condition) => conditionHolds(condition, principal));

export const conditionHolds = (condition: Condition, principal: Principal): boolean =>
  attributeValues(principal, condition.attribute).some((value) => condition.anyOf.some((glob) => glob.matches(value)));

export function attributeValues(principal: Principal, attribute: BindingAttribute): readonly string[] {
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
