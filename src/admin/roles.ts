/** Who may do what to the authority: roles from client certificates, and what each role is for. */
import { compileConditions } from '../policy/conditions.ts';
import { compileGlob } from '../policy/glob.ts';
import type { Glob } from '../policy/glob.ts';
import type { Condition } from '../policy/policy.ts';
import type { AdminInput } from './schema.ts';

export const adminRoles = ['issuer', 'revoker', 'approver', 'reader', 'admin'] as const;
export type AdminRole = (typeof adminRoles)[number];

/** `admin` may do all of these. */
const rolesByAction = {
  'certificate:issue': ['issuer'],
  'certificate:read': ['issuer', 'revoker', 'approver', 'reader'],
  'certificate:revoke': ['revoker'],
  'certificate:release': ['revoker'],
  'crl:publish': ['revoker'],
  'token:create': ['issuer'],
  'token:read': ['issuer', 'reader'],
  'token:delete': ['issuer'],
  'request:read': ['issuer', 'approver', 'reader'],
  'request:decide': ['approver'],
  'authority:read': ['issuer', 'revoker', 'approver', 'reader'],
  'audit:read': ['reader'],
  'hierarchy:change': [],
} as const satisfies Readonly<Record<string, readonly AdminRole[]>>;

export type AdminAction = keyof typeof rolesByAction;

export const adminActions = Object.keys(rolesByAction) as readonly AdminAction[];

export const rolesFor = (action: AdminAction): readonly AdminRole[] => ['admin', ...rolesByAction[action]];

/** One entry of `admins`, compiled. */
export interface AdminBinding {
  /** `admins[0]` */
  readonly path: string;
  readonly roles: readonly AdminRole[];
  readonly conditions: readonly Condition[];
  /** What certificates it is about; undefined: any. */
  readonly profiles: readonly Glob[] | undefined;
  readonly organizationalUnits: readonly Glob[] | undefined;
}

export const compileAdmins = (admins: readonly AdminInput[]): readonly AdminBinding[] =>
  admins.map(({ role = [], roles = [], when, profiles, organizationalUnits }, index) => ({
    path: `admins[${index}]`,
    roles: [...new Set([...role, ...roles])],
    conditions: compileConditions(when),
    profiles: profiles?.map((text) => compileGlob(text, 'name')),
    organizationalUnits: organizationalUnits?.map((text) => compileGlob(text, 'name')),
  }));
