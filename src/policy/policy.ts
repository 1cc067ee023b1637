/** A policy that was read, checked and compiled. Immutable; a reload makes another one. */
import type { ArgumentRule } from './argument-rule.ts';
import type { Glob } from './glob.ts';

export interface Policy {
  /** As given to `parsePolicy`, for messages. */
  readonly file: string;
  /** Names this text: first 16 hexadecimal digits of its SHA-256. */
  readonly revision: string;
  readonly roles: ReadonlyMap<string, Role>;
  readonly bindings: readonly Binding[];
  /** Whether a tool may be used that is not defined as it was when it was approved. */
  readonly onToolChange: 'allow' | 'deny';
  /** Whether a tool may be used that came after its upstream was met and that nobody has approved. */
  readonly onNewTool: 'allow' | 'deny';
  readonly findings: readonly PolicyFinding[];
}

export interface Role {
  readonly name: string;
  readonly description: string | undefined;
  readonly grants: readonly Grant[];
  /** Wins over every grant of every role of the principal. */
  readonly deny: readonly Grant[];
  readonly limits: RoleLimits;
}

export interface RoleLimits {
  readonly calls: { readonly count: number; readonly perMs: number } | undefined;
  readonly concurrent: number | undefined;
}

export interface Grant {
  /** `roles.analyst.grants[0]` */
  readonly path: string;
  readonly line: number;
  readonly upstreams: readonly Glob[];
  readonly tools: readonly Rule[];
  readonly resources: readonly Rule[];
  readonly prompts: readonly Rule[];
  readonly logging: boolean;
}

export interface Rule {
  /** `roles.analyst.grants[0].tools[1]` */
  readonly path: string;
  readonly line: number;
  readonly glob: Glob;
  /** Tools only. */
  readonly arguments: ArgumentRule | undefined;
}

export interface Binding {
  /** `bindings[0]` */
  readonly path: string;
  readonly line: number;
  readonly roles: readonly string[];
  /** Every condition must hold. */
  readonly conditions: readonly Condition[];
}

export type BindingAttribute = 'trust' | 'organizationalUnit' | 'organization' | 'commonName' | 'uri' | 'dns' | 'email' | 'issuer' | 'serial' | 'thumbprint' | 'dangerouslyAnyCertificate';

export interface Condition {
  readonly attribute: BindingAttribute;
  /** Any of these, on any of the attribute's values. */
  readonly anyOf: readonly Glob[];
}

export type PolicyFindingKind =
  /** Nothing is granted to anybody: everything is denied. */
  | 'grantsNothing'
  /** No binding leads to this role. */
  | 'unreachableRole'
  /** The role is bound, but grants nothing. */
  | 'emptyRole'
  /** A wider rule of the same role makes this one superfluous, or a deny makes it void. */
  | 'shadowed'
  /** Every tool of every upstream. */
  | 'everything'
  /** A binding that every certificate of this CA satisfies. */
  | 'anyCertificate'
  /** No arguments can satisfy the schema. */
  | 'impossibleSchema'
  /** The schema restricts an argument but allows calls without it. */
  | 'optionalArgument'
  /** The regular expression may take exponential time on hostile arguments. */
  | 'slowPattern'
  /** A resource pattern that no canonical URI matches. */
  | 'unusableResource'
  /** A serial names a certificate only together with its issuer. */
  | 'serialWithoutIssuer'
  /** The same roles under the same conditions twice. */
  | 'duplicateBinding'
  /** A grant for an upstream that is not configured. */
  | 'unknownUpstream'
  | 'unknownTrust';

export interface PolicyFinding {
  readonly kind: PolicyFindingKind;
  /** A warning is almost certainly a mistake; a note is something to know. */
  readonly severity: 'warning' | 'note';
  readonly path: string;
  readonly line: number;
  readonly message: string;
}
