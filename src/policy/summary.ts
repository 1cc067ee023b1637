/** What the present policy gives a certificate, in a few lines: shown when one is issued. */
import type { Principal } from '../identity/principal.ts';
import { rolesOf } from './bindings.ts';
import type { Grant, Policy, Rule } from './policy.ts';

export interface GrantSummary {
  /** Pattern, as the policy writes it. */
  readonly upstream: string;
  /** Patterns. */
  readonly tools: readonly string[];
  readonly resources: readonly string[];
  readonly prompts: readonly string[];
  readonly logging: boolean;
  /** Those of `tools` for which only some arguments are allowed. */
  readonly argumentRules: readonly string[];
  /** Patterns that an explicit deny takes away again. */
  readonly denied: readonly string[];
  readonly roles: readonly string[];
}

/** One entry for each upstream pattern, in the order of the policy. Empty when the certificate holds no role. */
export function summarizeGrants(policy: Policy, principal: Principal): readonly GrantSummary[] {
  const parts = rolesOf(policy, principal).flatMap((name) => {
    const role = policy.roles.get(name);
    return role === undefined ? [] : [...role.grants.map((grant) => ({ name, grant, denies: false })), ...role.deny.map((grant) => ({ name, grant, denies: true }))];
  });
  const upstreams = unique(parts.filter(({ denies }) => !denies).flatMap(({ grant }) => grant.upstreams.map((glob) => glob.pattern)));
  return upstreams.map((upstream) => {
    const here = parts.filter(({ grant }) => grant.upstreams.some((glob) => glob.pattern === upstream || glob.matches(upstream)));
    const granted = here.filter(({ denies }) => !denies).map(({ grant }) => grant);
    const denied = here.filter(({ denies }) => denies).map(({ grant }) => grant);
    const patterns = (rules: (grant: Grant) => readonly Rule[], from = granted): readonly string[] => unique(from.flatMap(rules).map((rule) => rule.glob.pattern));
    const free = new Set(granted.flatMap((grant) => grant.tools).filter((rule) => rule.arguments === undefined).map((rule) => rule.glob.pattern));
    return {
      upstream,
      tools: patterns((grant) => grant.tools),
      resources: patterns((grant) => grant.resources),
      prompts: patterns((grant) => grant.prompts),
      logging: granted.some((grant) => grant.logging),
      argumentRules: patterns((grant) => grant.tools.filter((rule) => rule.arguments !== undefined && !free.has(rule.glob.pattern))),
      denied: patterns((grant) => [...grant.tools, ...grant.resources, ...grant.prompts], denied),
      roles: unique(here.map(({ name }) => name)),
    };
  });
}

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)];
