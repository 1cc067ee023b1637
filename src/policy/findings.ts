/** What is not wrong enough to refuse a policy, but probably not what its author meant. */
import { ownTrust } from '../identity/principal.ts';
import { impossibleBecause, optionalRestricted, slowPatterns } from './schema-reading.ts';
import { canonicalUri } from './canonical-uri.ts';
import { globCovers } from './glob.ts';
import type { Glob } from './glob.ts';
import type { Binding, Grant, Policy, PolicyFinding, Role, Rule } from './policy.ts';

export function findingsOf(roles: ReadonlyMap<string, Role>, bindings: readonly Binding[]): readonly PolicyFinding[] {
  const bound = new Set(bindings.flatMap((binding) => binding.roles));
  const findings = [...roles.values()].flatMap((role) => roleFindings(role, bound.has(role.name)));
  findings.push(...bindingFindings(bindings));
  const grantsSomething = [...roles.values()].some((role) => bound.has(role.name) && role.grants.some((grant) => !isEmpty(grant)));
  if (!grantsSomething) findings.push({ kind: 'grantsNothing', severity: 'warning', path: '', line: 1, message: 'the policy grants nothing, so everything is denied: add a role with grants and a binding to it' });
  return findings.sort((a, b) => a.line - b.line);
}

/** Grants that name none of the configured upstreams. */
export function unknownUpstreams(policy: Policy, upstreams: readonly string[]): readonly PolicyFinding[] {
  const findings: PolicyFinding[] = [];
  for (const role of policy.roles.values()) {
    for (const grant of [...role.grants, ...role.deny]) {
      for (const glob of grant.upstreams) {
        if (upstreams.some((name) => glob.matches(name))) continue;
        findings.push({
          kind: 'unknownUpstream',
          severity: 'note',
          path: grant.path,
          line: grant.line,
          message: `no upstream is named ${glob.pattern}: configured ${upstreams.length === 0 ? 'is none' : `are ${upstreams.join(', ')}`}`,
        });
      }
    }
  }
  return findings;
}

/** Bindings that speak of an authority nobody configured. */
export function unknownTrusts(policy: Policy, trusts: readonly string[]): readonly PolicyFinding[] {
  const known = [ownTrust, ...trusts];
  return policy.bindings.flatMap(({ path, line, conditions }) =>
    conditions.filter(({ attribute }) => attribute === 'trust').flatMap(({ anyOf }) => anyOf)
      .filter((glob) => !known.some((name) => glob.matches(name)))
      .map((glob): PolicyFinding => ({ kind: 'unknownTrust', severity: 'note', path, line, message: `no authority is named ${glob.pattern}: known are ${known.join(', ')}` })));
}

const isEmpty = (grant: Grant): boolean => grant.tools.length === 0 && grant.resources.length === 0 && grant.prompts.length === 0 && !grant.logging;

function roleFindings(role: Role, bound: boolean): PolicyFinding[] {
  const path = `roles.${role.name}`;
  const line = role.grants[0]?.line ?? role.deny[0]?.line ?? 1;
  const findings: PolicyFinding[] = [];
  if (!bound) findings.push({ kind: 'unreachableRole', severity: 'warning', path, line, message: `no binding leads to the role ${role.name}: add one under bindings, or remove the role` });
  else if (role.grants.every(isEmpty) && role.deny.length === 0) findings.push({ kind: 'emptyRole', severity: 'warning', path, line, message: `the role ${role.name} grants nothing` });
  for (const grant of role.grants) {
    if (grant.upstreams.some((glob) => glob.pattern === '*') && grant.tools.some((rule) => isEverything(rule.glob) && rule.arguments === undefined)) {
      findings.push({ kind: 'everything', severity: 'note', path: grant.path, line: grant.line, message: `the role ${role.name} may call every tool of every upstream, also of those added later` });
    }
  }
  for (const grant of [...role.grants, ...role.deny]) {
    findings.push(...grant.tools.flatMap(schemaFindings));
    findings.push(...grant.resources.flatMap(resourceFindings));
  }
  findings.push(...shadowFindings(role));
  return findings;
}

const isEverything = (glob: Glob): boolean => glob.pattern === '*' || glob.pattern === '**';

function schemaFindings(rule: Rule): PolicyFinding[] {
  if (rule.arguments === undefined) return [];
  const { schema } = rule.arguments;
  const at = { path: rule.path, line: rule.line };
  const findings: PolicyFinding[] = [];
  const impossible = impossibleBecause(schema);
  if (impossible !== undefined) findings.push({ ...at, kind: 'impossibleSchema', severity: 'warning', message: `no arguments satisfy this rule: ${impossible}` });
  const optional = optionalRestricted(schema);
  if (optional.length > 0) findings.push({ ...at, kind: 'optionalArgument', severity: 'note', message: `${optional.join(', ')} may be left out altogether: add required: [${optional.join(', ')}] if it may not` });
  for (const pattern of slowPatterns(schema)) {
    findings.push({ ...at, kind: 'slowPattern', severity: 'warning', message: `the pattern ${pattern} repeats a repetition and may take exponential time on hostile arguments: rewrite it` });
  }
  return findings;
}

function resourceFindings(rule: Rule): PolicyFinding[] {
  if (rule.glob.exact) return [];
  // The pattern with plain text for its wildcards is a URI it matches; what is wrong with that is wrong with all.
  const specimen = rule.glob.pattern.replace(/^\*+(?=[:/]|$)/, 'x:x').replace(/\*+/g, 'x');
  const literal = /^[^:/?#]*[A-Z][^:/?#]*:|[^\u0021-\u007e]|[\\^`{|}"<>]|@|%(?![0-9A-F]{2})|\/\.\.?(\/|$)/.test(rule.glob.pattern.split(/[?#]/, 1)[0] ?? '');
  const verdict = canonicalUri(specimen);
  if (verdict.canonical || !literal) return [];
  return [{ kind: 'unusableResource', severity: 'warning', path: rule.path, line: rule.line, message: `patterns decide only about URIs in canonical form, and every URI that ${rule.glob.pattern} matches ${verdict.why}` }];
}

function bindingFindings(bindings: readonly Binding[]): PolicyFinding[] {
  const findings: PolicyFinding[] = [];
  const seen = new Map<string, Binding>();
  for (const binding of bindings) {
    const at = { path: binding.path, line: binding.line };
    const attributes = new Set(binding.conditions.map((condition) => condition.attribute));
    const anybody = binding.conditions.every((condition) => condition.attribute === 'trust' || condition.anyOf.some((glob) => isEverything(glob)));
    const whose = attributes.has('trust') ? 'of the authorities it names' : 'this CA issues';
    if (anybody) findings.push({ ...at, kind: 'anyCertificate', severity: 'note', message: `every certificate ${whose} ${attributes.has('dangerouslyAnyCertificate') || attributes.size === 1 && attributes.has('trust') ? '' : 'with such an attribute '}holds ${binding.roles.join(', ')}` });
    if (attributes.has('serial') && !attributes.has('issuer')) findings.push({ ...at, kind: 'serialWithoutIssuer', severity: 'note', message: 'another CA may issue the same serial: add issuer, or use thumbprint' });
    const key = JSON.stringify([binding.roles.toSorted(), binding.conditions.map((condition) => [condition.attribute, condition.anyOf.map((glob) => glob.pattern).toSorted()]).toSorted()]);
    const twin = seen.get(key);
    if (twin === undefined) seen.set(key, binding);
    else findings.push({ ...at, kind: 'duplicateBinding', severity: 'warning', message: `says the same as ${twin.path}: remove one` });
  }
  return findings;
}

interface Placed {
  readonly grant: Grant;
  readonly rule: Rule;
}

/** Comparing every pair is quadratic; beyond this many rules of one kind in one role it is left out. */
const shadowLimit = 1_000;

function shadowFindings(role: Role): PolicyFinding[] {
  const findings: PolicyFinding[] = [];
  for (const kind of ['tools', 'resources', 'prompts'] as const) {
    const grants = role.grants.flatMap((grant) => grant[kind].map((rule): Placed => ({ grant, rule })));
    const denies = role.deny.flatMap((grant) => grant[kind].map((rule): Placed => ({ grant, rule })));
    if (grants.length + denies.length > shadowLimit) continue;
    const wide = grants.filter(({ rule }) => !rule.glob.exact || rule.arguments === undefined);
    for (const [index, narrow] of grants.entries()) {
      const denied = denies.find((deny) => covers(deny, narrow));
      if (denied !== undefined) {
        findings.push({ kind: 'shadowed', severity: 'warning', path: narrow.rule.path, line: narrow.rule.line, message: `${narrow.rule.glob.pattern} is never granted: ${denied.rule.path} (${denied.rule.glob.pattern}) denies all of it` });
        continue;
      }
      const wider = wide.find((other) => other.rule !== narrow.rule && covers(other, narrow) && (!covers(narrow, other) || grants.indexOf(other) < index));
      if (wider === undefined) continue;
      const restricted = narrow.rule.arguments !== undefined;
      findings.push({
        kind: 'shadowed',
        severity: restricted ? 'warning' : 'note',
        path: narrow.rule.path,
        line: narrow.rule.line,
        message: restricted
          ? `the argument rule has no effect: ${wider.rule.path} (${wider.rule.glob.pattern}) grants ${narrow.rule.glob.pattern} with any arguments`
          : `${narrow.rule.glob.pattern} adds nothing: ${wider.rule.path} (${wider.rule.glob.pattern}) grants it already`,
      });
    }
  }
  return findings;
}

const covers = (wide: Placed, narrow: Placed): boolean =>
  wide.rule.arguments === undefined &&
  globCovers(wide.rule.glob.tokens, narrow.rule.glob.tokens) &&
  narrow.grant.upstreams.every((narrowUpstream) => wide.grant.upstreams.some((wideUpstream) => globCovers(wideUpstream.tokens, narrowUpstream.tokens)));
