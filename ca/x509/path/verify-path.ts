/**
 * Does a certificate lead to a trust anchor (RFC 5280 §6.1), by way of certificates that nobody
 * vouches for? For short hierarchies; what is not understood is refused, and the work is bounded
 * whatever is sent.
 */
import { certificateProblem, problem } from './certificate-rules.ts';
import { Budget, BudgetSpent, defaultLimits } from './budget.ts';
import { PathSearch } from './path-search.ts';
import { purposeProblem } from './purpose.ts';
import type { Certificate } from '../certificate.ts';
import type { PathLimits } from './budget.ts';
import type { PolicyInputs } from './policy-graph.ts';
import type { Purpose } from './purpose.ts';
import type { PathVerdict, StatusSource, VerifiedPath } from './verdict.ts';

export interface PathOptions {
  /** Certificates of authorities that are trusted. Their signatures are not checked; what they say about themselves holds. */
  readonly anchors: readonly Certificate[];
  /** What the path may be built of, in any order, trusted for nothing. */
  readonly intermediates?: readonly Certificate[];
  readonly at: Date;
  /** `any` asks nothing of the certificate's usages. */
  readonly purpose: Purpose;
  /** How certificates stand; `statusFromCrls` makes one of CRLs. Without it every status is unknown. */
  readonly status?: StatusSource;
  /** Default `deny`. */
  readonly onUnknownStatus?: 'deny' | 'allow';
  readonly policy?: PolicyInputs;
  readonly limits?: Partial<PathLimits>;
}

/**
 * The first path in which everything holds, else the refusal of the path that came nearest. Never
 * throws because of what a certificate holds.
 */
export function verifyPath(certificate: Certificate, options: PathOptions): PathVerdict {
  const { anchors, intermediates = [], at, purpose, status = () => NOT_ASKED, onUnknownStatus = 'deny', policy = {} } = options;
  if (Number.isNaN(at.getTime())) throw new TypeError('at must be a valid date');
  const limits = { ...defaultLimits, ...options.limits };
  const refused = (found: ReturnType<typeof problem>) => ({ ok: false as const, ...found, path: [certificate] });
  if (intermediates.length > limits.intermediates) {
    return refused(problem('ERR_PATH_LIMIT', `${intermediates.length} certificates came along, and the limit is ${limits.intermediates}`, 'RFC 5280 §6.1', certificate));
  }
  const own = certificateProblem(certificate, at) ?? purposeProblem(certificate, purpose);
  if (own !== undefined) return refused(own);
  const budget = new Budget(limits);
  const search = new PathSearch({ anchors, intermediates, at, purpose, budget, maxCertificates: limits.certificates, rules: { policy, status, onUnknownStatus, budget } });
  try {
    const found = search.from([certificate]);
    if (found !== undefined) return { ok: true, ...found } as unknown as VerifiedPath;
  } catch (error) {
    if (!(error instanceof BudgetSpent)) throw error;
    return refused(problem('ERR_PATH_LIMIT', error.message, 'RFC 5280 §6.1', certificate));
  }
  return search.nearest ?? refused(problem('ERR_PATH_INCOMPLETE', 'no issuer of it is known', 'RFC 5280 §6.1.3 (a)(4)', certificate));
}

const NOT_ASKED = { status: 'unknown', because: 'nothing was given that says so' } as const;
