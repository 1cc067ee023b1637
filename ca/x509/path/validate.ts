/** RFC 5280 §6.1 over one complete path, from the anchor down: what depends on more than two neighbours. The rest was checked link by link. */
import { endOf, problem } from './certificate-rules.ts';
import { nameProblem } from './name-constraints.ts';
import { isSelfIssued } from './name-key.ts';
import { ANY_POLICY, policyExtensions } from './policy-extension.ts';
import { concludedPolicies, constrainedByAnchor, initialPolicyState, policyHolds, preparedForNext, withPolicies } from './policy-graph.ts';
import type { Certificate } from '../certificate.ts';
import type { Budget } from './budget.ts';
import type { PolicyInputs } from './policy-graph.ts';
import type { CertificateStatus, PathWarning, Problem, StatusSource } from './verdict.ts';

export interface PathRules {
  readonly policy: PolicyInputs;
  readonly status: StatusSource;
  readonly onUnknownStatus: 'deny' | 'allow';
  readonly budget: Budget;
}

export interface PathFindings {
  readonly statuses: readonly CertificateStatus[];
  readonly policies: readonly string[];
  readonly expiresAt: Date;
  readonly warnings: readonly PathWarning[];
}

/** `path` leads from the certificate asked about to the one that the anchor signed. */
export function validatePath(path: readonly Certificate[], anchor: Certificate, rules: PathRules): PathFindings | Problem {
  rules.budget.spend('paths');
  const descending = path.toReversed();
  const shape = lengthProblem(descending, anchor) ?? namesProblem(descending, anchor, rules.budget);
  if (shape !== undefined) return shape;
  const policies = validPolicies(descending, anchor, rules.policy);
  if ('code' in policies) return policies;
  const status = statusesOf(path, anchor, rules);
  if ('code' in status) return status;
  return { ...status, ...policies, expiresAt: new Date(Math.min(...[...path, anchor].map(endOf))) };
}

/** §6.1.4 (l) and (m). RFC 5937: the pathLen of the anchor's certificate counts too. */
function lengthProblem(descending: readonly Certificate[], anchor: Certificate): Problem | undefined {
  let left = anchor.basicConstraints?.pathLen ?? Infinity;
  for (const certificate of descending.slice(0, -1)) {
    if (!isSelfIssued(certificate)) {
      if (left === 0) return problem('ERR_PATH_LENGTH', 'it is a CA deeper below than the pathLen of an authority above allows', 'RFC 5280 §6.1.4 (l)', certificate);
      left--;
    }
    left = Math.min(left, certificate.basicConstraints?.pathLen ?? Infinity);
  }
  return undefined;
}

/** §6.1.3 (b) and (c): a self-issued certificate is exempt unless it is the last one. */
function namesProblem(descending: readonly Certificate[], anchor: Certificate, budget: Budget): Problem | undefined {
  const above = [anchor];
  for (const [index, certificate] of descending.entries()) {
    if (index === descending.length - 1 || !isSelfIssued(certificate)) {
      const found = nameProblem(certificate, above, budget);
      if (found !== undefined) return found;
    }
    above.push(certificate);
  }
  return undefined;
}

function validPolicies(descending: readonly Certificate[], anchor: Certificate, inputs: PolicyInputs): Pick<PathFindings, 'policies'> | Problem {
  let state = constrainedByAnchor(initialPolicyState(descending.length, inputs), policyExtensions(anchor));
  for (const [index, certificate] of descending.entries()) {
    const extensions = policyExtensions(certificate);
    const position = { selfIssued: isSelfIssued(certificate), final: index === descending.length - 1 };
    state = withPolicies(state, extensions, position);
    if (!policyHolds(state)) return noPolicy('§6.1.3 (f)', certificate);
    if (position.final) {
      const policies = concludedPolicies(state, extensions, inputs);
      return policies === undefined ? noPolicy('§6.1.5 (g)', certificate) : { policies };
    }
    const next = preparedForNext(state, extensions, position);
    if (next === undefined) return problem('ERR_PATH_POLICY', 'it maps anyPolicy to another policy, or another to it', 'RFC 5280 §6.1.4 (a)', certificate);
    state = next;
  }
  return { policies: [ANY_POLICY] };
}

const noPolicy = (clause: string, at: Certificate): Problem => problem('ERR_PATH_POLICY', 'a certificate policy is required, and none that is acceptable is valid along the whole path', `RFC 5280 ${clause}`, at);

/** §6.1.3 (a)(3), from the top: below a revoked CA nothing counts. The anchor has no status; distrust it by removing it. */
function statusesOf(path: readonly Certificate[], anchor: Certificate, { status, onUnknownStatus }: PathRules): Pick<PathFindings, 'statuses' | 'warnings'> | Problem {
  const statuses: CertificateStatus[] = [];
  const warnings: PathWarning[] = [];
  for (const [index, certificate] of [...path.entries()].toReversed()) {
    const found = status(certificate, path[index + 1] ?? anchor);
    if (found.status === 'revoked') return problem('ERR_PATH_REVOKED', `it was revoked at ${found.revokedAt.toISOString().replace('.000Z', 'Z')} for ${found.reason}`, 'RFC 5280 §6.1.3 (a)(3)', certificate);
    if (found.status === 'unknown') {
      if (onUnknownStatus === 'deny') return problem('ERR_PATH_STATUS_UNKNOWN', `nobody says whether it was revoked: ${found.because}`, 'RFC 5280 §6.3.3', certificate);
      warnings.push({ at: certificate, text: `nobody says whether it was revoked: ${found.because}` });
    }
    statuses.unshift(found);
  }
  return { statuses, warnings };
}
