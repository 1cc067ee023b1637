/** Whether somebody may do something to the authority. Pure; nothing is allowed that no entry of `admins` allows. */
import { roleOf } from '../../ca/record-role.ts';
import type { Principal } from '../identity/principal.ts';
import { conditionsHold } from '../policy/conditions.ts';
import { rolesFor } from './roles.ts';
import type { AdminAction, AdminBinding, AdminRole } from './roles.ts';

/** One certificate, token or request that an action is about. */
export interface AdminTarget {
  readonly agent: string;
  readonly profile: string;
  readonly organizationalUnits: readonly string[];
  /** Whom a new certificate would make, as far as that is known before it exists. */
  readonly becomes?: Principal | undefined;
  /** Certificates that its agent has already: whoever gets another of the name is taken for the same agent. */
  readonly namesakes?: readonly AdminTarget[] | undefined;
}

export interface AdminQuestion {
  readonly action: AdminAction;
  readonly targets?: readonly AdminTarget[];
}

export type AdminDecision =
  | { readonly effect: 'allow'; readonly roles: readonly AdminRole[]; /** `admins[0]` */ readonly rule: string }
  | { readonly effect: 'deny'; readonly roles: readonly AdminRole[]; readonly reason: AdminDenial };

export type AdminDenial =
  /** No role of the principal is for this. */
  | 'noRole'
  /** A role would do, but not for these profiles or organizational units. */
  | 'outsideScope'
  /** It is about the authority's own certificates, which only `admin` may touch. */
  | 'ownCertificate'
  /** The new certificate would itself hold a role: only `admin` makes others. */
  | 'makesAdmin';

export const adminRolesOf = (bindings: readonly AdminBinding[], principal: Principal): readonly AdminRole[] => [...new Set(bindings.filter(({ conditions }) => conditionsHold(conditions, principal)).flatMap(({ roles }) => roles))];

export const decideAdmin = (bindings: readonly AdminBinding[], principal: Principal, { action, targets = [] }: AdminQuestion): AdminDecision => {
  const held = bindings.filter(({ conditions }) => conditionsHold(conditions, principal));
  const roles = [...new Set(held.flatMap((binding) => binding.roles))];
  const sufficient = rolesFor(action);
  const able = held.filter((binding) => binding.roles.some((role) => sufficient.includes(role)));
  if (able.length === 0) return { effect: 'deny', roles, reason: 'noRole' };
  // What only `admin` may is about the whole authority.
  const granting = sufficient.length > 1 ? able : able.filter(isUnbounded);
  const [first] = granting;
  if (first === undefined) return { effect: 'deny', roles, reason: 'outsideScope' };
  let rule = first.path;
  for (const target of targets) {
    const covering = granting.filter((binding) => [target, ...(target.namesakes ?? [])].every((each) => covers(binding, each)));
    const [one] = covering;
    if (one === undefined) return { effect: 'deny', roles, reason: 'outsideScope' };
    const byAdmin = covering.find((binding) => binding.roles.includes('admin') && isUnbounded(binding));
    if (byAdmin === undefined && roleOf(target) !== 'endEntity') return { effect: 'deny', roles, reason: 'ownCertificate' };
    if (byAdmin === undefined && target.becomes !== undefined && adminRolesOf(bindings, target.becomes).length > 0) return { effect: 'deny', roles, reason: 'makesAdmin' };
    rule = (byAdmin ?? one).path;
  }
  return { effect: 'allow', roles, rule };
};

/** An admin within a scope who could make one without would have none. */
const isUnbounded = ({ profiles, organizationalUnits }: AdminBinding): boolean => profiles === undefined && organizationalUnits === undefined;

const covers = ({ profiles, organizationalUnits }: AdminBinding, target: AdminTarget): boolean => {
  if (profiles !== undefined && !profiles.some((glob) => glob.matches(target.profile))) return false;
  if (organizationalUnits === undefined) return true;
  // Without any unit nothing says that it is theirs.
  return target.organizationalUnits.length > 0 && target.organizationalUnits.every((unit) => organizationalUnits.some((glob) => glob.matches(unit)));
};
