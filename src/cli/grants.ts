/** What the present policy gives a certificate, shown where certificates are made. */
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { IssuerId } from '../../ca/ports.ts';
import { readPolicy } from '../app/policy-file.ts';
import type { Config } from '../config/load.ts';
import { principalOf } from '../identity/principal-of.ts';
import { summarizeGrants } from '../policy/summary.ts';
import type { GrantSummary } from '../policy/summary.ts';

export async function grantsOfCertificate(config: Config, certificate: { readonly der: Uint8Array; readonly issuerId: IssuerId }): Promise<readonly GrantSummary[]> {
  return summarizeGrants(await readPolicy(config.policyFile), principalOf(parseCertificate(certificate.der), certificate.issuerId));
}

export function formatGrants(grants: readonly GrantSummary[]): string {
  if (grants.length === 0) return '  grants     none: no binding of the policy matches this certificate';
  return grants
    .flatMap((grant) => {
      const list = (what: string, patterns: readonly string[]): readonly string[] => (patterns.length === 0 ? [] : [`    ${what.padEnd(9)} ${patterns.map((pattern) => (what === 'tools' && grant.argumentRules.includes(pattern) ? `${pattern} (argument rule)` : pattern)).join(', ')}`]);
      return [
        `  grants on ${grant.upstream} as ${grant.roles.join(', ')}`,
        ...list('tools', grant.tools),
        ...list('resources', grant.resources),
        ...list('prompts', grant.prompts),
        ...list('logging', grant.logging ? ['may set the level'] : []),
        ...list('denied', grant.denied),
      ];
    })
    .join('\n');
}
