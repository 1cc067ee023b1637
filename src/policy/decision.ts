/** What a principal asks for, as policy sees it. `arguments: undefined` asks whether some call would be allowed (lists). */
export type Action =
  | { readonly kind: 'connect'; readonly upstream: string }
  | {
      readonly kind: 'tool'; readonly upstream: string; readonly name: string; readonly arguments?: unknown;
      /** Two readers could see two different arguments (look-alike names, inexact numbers), so no rule about them may be satisfied. */
      readonly ambiguousArguments?: boolean;
    }
  | { readonly kind: 'resource'; readonly upstream: string; readonly uri: string }
  | { readonly kind: 'resourceTemplate'; readonly upstream: string; readonly uriTemplate: string }
  | { readonly kind: 'prompt'; readonly upstream: string; readonly name: string }
  | { readonly kind: 'logging'; readonly upstream: string };

export type DecisionReason =
  | 'granted'
  /** No binding matches the certificate. */
  | 'noRole'
  /** Roles, but none grants this upstream, tool, resource or prompt. */
  | 'noGrant'
  /** A grant names the tool, but the arguments do not satisfy its JSON Schema. */
  | 'argumentsRefused'
  /** An explicit deny matches; it wins over every grant. */
  | 'explicitDeny'
  /** The URI is not in canonical form, so a prefix rule must not be applied to it. */
  | 'uriNotCanonical'
  /** The tool is not defined as it was when it was approved, and the policy says `onToolChange: deny`. */
  | 'toolChanged'
  /** The tool came after the upstream was met, nobody has approved it, and the policy says `onNewTool: deny`. */
  | 'toolNew'
  /** The policy judges definitions, and the upstream lists no such tool. */
  | 'toolUnlisted';

export interface Decision {
  readonly effect: 'allow' | 'deny';
  readonly reason: DecisionReason;
  /** Path of the rule that decided, e.g. `roles.analyst.grants[0].tools[1]`; undefined when none matched. */
  readonly rule: string | undefined;
  /** Roles the principal holds. */
  readonly roles: readonly string[];
  /** For `argumentsRefused`: what the schema found, for the audit log and `policy explain`, never for the peer. */
  readonly detail?: string;
}
