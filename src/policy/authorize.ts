/**
 * The one place that decides. Calls and list filters ask the same function, so a list cannot show
 * what a call would refuse or hide what it would allow.
 */
import type { Principal } from '../identity/principal.ts';
import { rolesOf } from './bindings.ts';
import { canonicalUri } from './canonical-uri.ts';
import type { Action, Decision, DecisionReason } from './decision.ts';
import { EffectiveGrants } from './effective-grants.ts';
import type { UpstreamView } from './effective-grants.ts';
import { globCovers, globsOverlap } from './glob.ts';
import type { Policy, Rule } from './policy.ts';
import { templateTokens } from './uri-template.ts';

export { EffectiveGrants } from './effective-grants.ts';

/** Compile once per certificate and policy revision, not per request. */
export const grantsOf = (policy: Policy, principal: Principal): EffectiveGrants => new EffectiveGrants(policy, rolesOf(policy, principal));

/**
 * Deny by default; roles add up; an explicit deny wins. A tool action without `arguments` asks
 * whether some call would be allowed, so a call without arguments must say `arguments: {}`.
 */
export function authorize(grants: EffectiveGrants, action: Action): Decision {
  if (grants.roles.length === 0) return noRole;
  const view = grants.upstream(action.upstream);
  const { roles } = grants;
  switch (action.kind) {
    case 'connect':
      return view.allow.first === undefined ? deny(roles, 'noGrant') : allow(roles, view.allow.first);
    case 'logging':
      if (view.deny.logging !== undefined) return deny(roles, 'explicitDeny', view.deny.logging);
      return view.allow.logging === undefined ? deny(roles, 'noGrant') : allow(roles, view.allow.logging);
    case 'tool':
      return isName(action.name) ? decideTool(view, roles, action.name, action.arguments, action.ambiguousArguments ?? false) : deny(roles, 'noGrant');
    case 'prompt':
      return isName(action.name) ? view.decisions.get(`p${action.name}`, () => decidePrompt(view, roles, action.name)) : deny(roles, 'noGrant');
    case 'resource':
      return isName(action.uri) ? view.decisions.get(`r${action.uri}`, () => decideResource(view, roles, action.uri)) : deny(roles, 'noGrant');
    case 'resourceTemplate':
      return isName(action.uriTemplate) ? view.decisions.get(`t${action.uriTemplate}`, () => decideTemplate(view, roles, action.uriTemplate)) : deny(roles, 'noGrant');
    default:
      // An action of a kind this version does not know, from untyped code.
      action satisfies never;
      return deny(roles, 'noGrant');
  }
}

type Roles = readonly string[];

const noRole: Decision = Object.freeze({ effect: 'deny', reason: 'noRole', rule: undefined, roles: Object.freeze([]) });

const allow = (roles: Roles, rule: string): Decision => Object.freeze({ effect: 'allow', reason: 'granted', rule, roles });

const deny = (roles: Roles, reason: DecisionReason, rule?: string, detail?: string): Decision =>
  Object.freeze({ effect: 'deny', reason, rule, roles, ...(detail === undefined ? {} : { detail }) });

/** Names come off the wire, whatever the types say. No tool, prompt or URI is this long. */
const isName = (name: unknown): name is string => typeof name === 'string' && name.length <= 8_192;

function decideTool(view: UpstreamView, roles: Roles, name: string, args: unknown, ambiguous: boolean): Decision {
  const rules = view.toolRules.get(name, () => ({ allow: view.allow.tools.find(name), deny: view.deny.tools.find(name) }));
  for (const rule of rules.deny) {
    // A deny with arguments forbids some calls, not the tool.
    if (rule.arguments === undefined) return deny(roles, 'explicitDeny', rule.path);
    // What cannot be checked is denied too.
    if (args !== undefined && (ambiguous || rule.arguments.check(args).outcome !== 'refused')) return deny(roles, 'explicitDeny', rule.path);
  }
  let refused: { readonly rule: Rule; readonly detail: string } | undefined;
  for (const rule of rules.allow) {
    if (args === undefined || rule.arguments === undefined) return view.decisions.get(`=${rule.path}`, () => allow(roles, rule.path));
    const { outcome, detail } = ambiguous ? ambiguity : rule.arguments.check(args);
    if (outcome === 'satisfied') return view.decisions.get(`=${rule.path}`, () => allow(roles, rule.path));
    refused ??= { rule, detail };
  }
  return refused === undefined ? deny(roles, 'noGrant') : deny(roles, 'argumentsRefused', refused.rule.path, refused.detail);
}

const ambiguity = { outcome: 'refused', detail: 'the arguments have names that look alike or numbers that are not exact, so a rule about them cannot hold' } as const;

function decidePrompt(view: UpstreamView, roles: Roles, name: string): Decision {
  const [denied] = view.deny.prompts.find(name);
  if (denied !== undefined) return deny(roles, 'explicitDeny', denied.path);
  const [granted] = view.allow.prompts.find(name);
  return granted === undefined ? deny(roles, 'noGrant') : allow(roles, granted.path);
}

function decideResource(view: UpstreamView, roles: Roles, uri: string): Decision {
  const [denied] = view.deny.resources.find(uri);
  if (denied !== undefined) return deny(roles, 'explicitDeny', denied.path);
  const granted = view.allow.resources.find(uri);
  const exact = granted.find((rule) => rule.glob.exact);
  if (exact !== undefined) return allow(roles, exact.path);
  const [pattern] = granted;
  if (pattern === undefined) return deny(roles, 'noGrant');
  const verdict = canonicalUri(uri);
  return verdict.canonical ? allow(roles, pattern.path) : deny(roles, 'uriNotCanonical', pattern.path, `the URI ${verdict.why}`);
}

/** Granted when some expansion would be readable, denied when every expansion is denied. Each read is decided again. */
function decideTemplate(view: UpstreamView, roles: Roles, template: string): Decision {
  const tokens = templateTokens(template);
  const isDenied = ({ glob }: Rule): boolean => glob.pattern === template || (tokens === undefined ? glob.matches(template) : globCovers(glob.tokens, tokens));
  const denied = view.deny.resources.rules.find(isDenied);
  if (denied !== undefined) return deny(roles, 'explicitDeny', denied.path);
  const isGranted = ({ glob }: Rule): boolean => glob.pattern === template || (tokens !== undefined && globsOverlap(glob.tokens, tokens));
  const granted = view.allow.resources.rules.find(isGranted);
  return granted === undefined ? deny(roles, 'noGrant') : allow(roles, granted.path);
}
