/** The extensions about certificate policies (RFC 5280 §4.2.1.4, .5, .11 and .14), read strictly. All refuse with `ERR_DER_INVALID`. */
import { DerReader, TAG, contextTag, invalid } from '../der.ts';
import { EXTENSION, extensionValue } from '../extension.ts';
import type { Certificate } from '../certificate.ts';

export const ANY_POLICY = '2.5.29.32.0';

export interface PolicyExtensions {
  /** Undefined without the extension. */
  readonly policies: ReadonlySet<string> | undefined;
  /** Subject domain policies by issuer domain policy. */
  readonly mappings: ReadonlyMap<string, ReadonlySet<string>>;
  readonly requireExplicitPolicy: number | undefined;
  readonly inhibitPolicyMapping: number | undefined;
  readonly inhibitAnyPolicy: number | undefined;
}

const QUALIFIERS: ReadonlySet<string> = new Set(['1.3.6.1.5.5.7.2.1', '1.3.6.1.5.5.7.2.2']);
const MAX_POLICIES = 32;
const MAX_QUALIFIERS = 16;

const read = new WeakMap<Certificate, PolicyExtensions>();

export function policyExtensions(certificate: Certificate): PolicyExtensions {
  const known = read.get(certificate);
  if (known !== undefined) return known;
  const { extensions } = certificate;
  const critical = extensions.get(EXTENSION.certificatePolicies)?.critical === true;
  const value: PolicyExtensions = {
    policies: extensionValue(extensions, EXTENSION.certificatePolicies, (der) => parsePolicies(der, critical)),
    mappings: extensionValue(extensions, EXTENSION.policyMappings, parseMappings) ?? new Map(),
    ...(extensionValue(extensions, EXTENSION.policyConstraints, parseConstraints) ?? { requireExplicitPolicy: undefined, inhibitPolicyMapping: undefined }),
    inhibitAnyPolicy: extensionValue(extensions, EXTENSION.inhibitAnyPolicy, parseInhibitAnyPolicy),
  };
  read.set(certificate, value);
  return value;
}

function parsePolicies(der: Uint8Array, critical: boolean): ReadonlySet<string> {
  const list = enterOnly(der);
  if (list.done) throw invalid('certificatePolicies without a policy', list.offset);
  const policies = new Set<string>();
  while (!list.done) {
    const at = list.offset;
    const information = list.enter();
    const policy = information.oid();
    // RFC 5280 §4.2.1.4: never the same policy twice.
    if (policies.has(policy)) throw invalid(`policy ${policy} appears twice`, at);
    if (policies.size === MAX_POLICIES) throw invalid('more policies than the limit', at);
    policies.add(policy);
    if (!information.done) readQualifiers(information.enter(), critical);
    information.finish();
  }
  return policies;
}

function readQualifiers(list: DerReader, critical: boolean): void {
  if (list.done) throw invalid('empty list of policy qualifiers', list.offset);
  for (let count = 0; !list.done; count++) {
    const at = list.offset;
    if (count === MAX_QUALIFIERS) throw invalid('more policy qualifiers than the limit', at);
    const qualifier = list.enter();
    const kind = qualifier.oid();
    qualifier.raw();
    qualifier.finish();
    // RFC 5280 §4.2.1.4: when the extension is critical, every qualifier must be understood.
    if (critical && !QUALIFIERS.has(kind)) throw invalid(`policy qualifier ${kind} is not supported in a critical extension`, at);
  }
}

function parseMappings(der: Uint8Array): ReadonlyMap<string, ReadonlySet<string>> {
  const list = enterOnly(der);
  if (list.done) throw invalid('policyMappings without a mapping', list.offset);
  const mappings = new Map<string, Set<string>>();
  for (let count = 0; !list.done; count++) {
    const at = list.offset;
    if (count === MAX_POLICIES) throw invalid('more policy mappings than the limit', at);
    const pair = list.enter();
    const issuerDomain = pair.oid();
    const subjectDomain = pair.oid();
    pair.finish();
    const mapped = mappings.get(issuerDomain);
    if (mapped === undefined) mappings.set(issuerDomain, new Set([subjectDomain]));
    else mapped.add(subjectDomain);
  }
  return mappings;
}

function parseConstraints(der: Uint8Array): Pick<PolicyExtensions, 'requireExplicitPolicy' | 'inhibitPolicyMapping'> {
  const fields = enterOnly(der);
  // RFC 5280 §4.2.1.11: never an empty sequence.
  if (fields.done) throw invalid('policyConstraints without a field', fields.offset);
  const skip = (number: number) => {
    const tag = contextTag(number, 'primitive');
    return fields.peek() === tag ? fields.smallInteger(tag) : undefined;
  };
  const requireExplicitPolicy = skip(0);
  const inhibitPolicyMapping = skip(1);
  fields.finish();
  return { requireExplicitPolicy, inhibitPolicyMapping };
}

function parseInhibitAnyPolicy(der: Uint8Array): number {
  const reader = new DerReader(der);
  const skip = reader.smallInteger();
  reader.finish();
  return skip;
}

function enterOnly(der: Uint8Array): DerReader {
  const outer = new DerReader(der);
  const fields = outer.enter(TAG.sequence);
  outer.finish();
  return fields;
}
