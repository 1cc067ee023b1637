/**
 * What a set of roles may do on one upstream, compiled for fast decisions. `EffectiveGrants` belongs
 * to one certificate and one policy revision; the compiled tables are shared by all with the same roles.
 */
import type { Decision } from './decision.ts';
import type { Policy, RoleLimits, Rule } from './policy.ts';
import { Memo, RuleTable } from './rule-table.ts';

export type GrantClass = 'tools' | 'resources' | 'prompts' | 'logging';

interface Side {
  readonly tools: RuleTable;
  readonly resources: RuleTable;
  readonly prompts: RuleTable;
  /** Path of the first grant that says `logging: true`. */
  readonly logging: string | undefined;
  /** Path of the first grant that says anything. */
  readonly first: string | undefined;
}

/** The rules of some roles for one upstream. */
export interface UpstreamRules {
  readonly allow: Side;
  readonly deny: Side;
}

/** The rules with one certificate's memory of answers. */
export interface UpstreamView extends UpstreamRules {
  readonly decisions: Memo<Decision>;
  readonly toolRules: Memo<ToolRules>;
}

export interface ToolRules {
  readonly allow: readonly Rule[];
  readonly deny: readonly Rule[];
}

const memoCapacity = 1_024;
const upstreamCapacity = 256;

export class EffectiveGrants {
  readonly policyRevision: string;
  /** In the order of the policy. */
  readonly roles: readonly string[];
  /** One for each role that sets limits. */
  readonly limits: readonly { readonly role: string; readonly limits: RoleLimits }[];
  readonly #policy: Policy;
  readonly #views = new Map<string, UpstreamView>();

  constructor(policy: Policy, roles: readonly string[]) {
    this.#policy = policy;
    this.policyRevision = policy.revision;
    this.roles = Object.freeze([...roles]);
    this.limits = roles.flatMap((name) => {
      const limits = policy.roles.get(name)?.limits;
      return limits === undefined || (limits.calls === undefined && limits.concurrent === undefined) ? [] : [{ role: name, limits }];
    });
  }

  upstream(name: string): UpstreamView {
    const known = this.#views.get(name);
    if (known !== undefined) return known;
    if (this.#views.size >= upstreamCapacity) this.#views.clear();
    const view = { ...rulesFor(this.#policy, this.roles, name), decisions: new Memo<Decision>(memoCapacity), toolRules: new Memo<ToolRules>(memoCapacity) };
    this.#views.set(name, view);
    return view;
  }

  /** Whether anything of this class is granted on the upstream; what `initialize` may announce. */
  has(upstream: string, grantClass: GrantClass): boolean {
    const { allow } = this.upstream(upstream);
    return grantClass === 'logging' ? allow.logging !== undefined : !allow[grantClass].empty;
  }

  /** Whether everything of this class is granted on the upstream, whatever its name, and nothing denied. */
  hasAll(upstream: string, grantClass: Exclude<GrantClass, 'logging'>): boolean {
    const { allow, deny } = this.upstream(upstream);
    return deny[grantClass].empty && allow[grantClass].rules.some(({ glob }) => glob.pattern === '**' || (glob.pattern === '*' && grantClass !== 'resources'));
  }
}

const compiled = new WeakMap<Policy, Map<string, UpstreamRules>>();
const compiledCapacity = 4_096;

function rulesFor(policy: Policy, roles: readonly string[], upstream: string): UpstreamRules {
  const cache = compiled.get(policy) ?? new Map<string, UpstreamRules>();
  compiled.set(policy, cache);
  const key = JSON.stringify([upstream, ...roles]);
  const known = cache.get(key);
  if (known !== undefined) return known;
  if (cache.size >= compiledCapacity) cache.clear();
  const rules = { allow: sideOf(policy, roles, upstream, 'grants'), deny: sideOf(policy, roles, upstream, 'deny') };
  cache.set(key, rules);
  return rules;
}

function sideOf(policy: Policy, roles: readonly string[], upstream: string, side: 'grants' | 'deny'): Side {
  const grants = roles.flatMap((name) => policy.roles.get(name)?.[side] ?? []).filter((grant) => grant.upstreams.some((glob) => glob.matches(upstream)));
  const saying = grants.filter((grant) => grant.tools.length + grant.resources.length + grant.prompts.length > 0 || grant.logging);
  const logging = grants.find((grant) => grant.logging);
  return {
    tools: new RuleTable(grants.flatMap((grant) => grant.tools)),
    resources: new RuleTable(grants.flatMap((grant) => grant.resources)),
    prompts: new RuleTable(grants.flatMap((grant) => grant.prompts)),
    logging: logging === undefined ? undefined : `${logging.path}.logging`,
    first: saying[0]?.path,
  };
}
