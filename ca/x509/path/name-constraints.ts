/** RFC 5280 §6.1.3 (b) and (c): the names of a certificate against the constraints of every CA above it. */
import { formatName } from '../name.ts';
import { matchExcluded, matchPermitted } from './constraint-match.ts';
import { nameConstraints, subjectNames } from './constrained-name.ts';
import type { Certificate } from '../certificate.ts';
import type { Budget } from './budget.ts';
import type { SubjectName } from './constrained-name.ts';
import type { Problem } from './verdict.ts';

/**
 * Held against each CA on its own: a name must be in one of the permitted subtrees of each CA that
 * permits any of its kind, which is the intersection of §6.1.4 (g)(1) without computing it.
 */
export function nameProblem(certificate: Certificate, authorities: readonly Certificate[], budget: Budget): Problem | undefined {
  for (const authority of authorities) {
    const constraints = nameConstraints(authority);
    if (constraints === undefined) continue;
    for (const name of subjectNames(certificate)) {
      const permitted = constraints.permitted.filter(({ kind }) => kind === name.kind);
      const excluded = constraints.excluded.filter(({ kind }) => kind === name.kind);
      budget.spend('comparisons', 1 + constraints.permitted.length + constraints.excluded.length);
      const no = (reason: string): Problem => ({ code: 'ERR_PATH_NAME', reason: `${describe(name, certificate)} ${reason} ${formatName(authority.subject)}`, clause: 'RFC 5280 §4.2.1.10', at: certificate });
      const inExcluded = excluded.map((subtree) => matchExcluded(name, subtree));
      const inPermitted = permitted.map((subtree) => matchPermitted(name, subtree));
      if (inExcluded.includes('within')) return no('is excluded by');
      if (inExcluded.includes('unclear') || inPermitted.includes('unclear')) return no('cannot be compared with the name constraints of');
      if (permitted.length > 0 && !inPermitted.includes('within')) return no('is outside what is permitted to');
    }
  }
  return undefined;
}

function describe(name: SubjectName, certificate: Certificate): string {
  switch (name.kind) {
    case 'directory':
      return `the directory name of ${formatName(certificate.subject)}`;
    case 'ip':
      return `an IP address of ${certificate.ipAddresses.join(', ')}`;
    case 'dns':
    case 'uri':
    case 'email':
      return name.text === '' ? 'an address' : name.text;
    default:
      return 'a name of a kind that is not supported';
  }
}
