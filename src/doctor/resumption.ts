/** Sessions are where revoked peers slip through: OpenSSL resumes them without looking at the certificate again. */
import { fail, pass } from './check.ts';
import type { Finding } from './check.ts';
import { approach } from './encounter.ts';
import type { Identity, Target, TlsVersion } from './encounter.ts';
import { judgeRefusal } from './judgement.ts';

export interface TakenSession {
  readonly version: TlsVersion;
  /** Undefined when the gateway offered none. */
  readonly session: Buffer | undefined;
}

/** One connection with each version the gateway speaks. */
export const takeSessions = async (target: Target, identity: Identity, oldest: TlsVersion): Promise<readonly TakenSession[]> => {
  const versions: readonly TlsVersion[] = oldest === 'TLSv1.2' ? ['TLSv1.3', 'TLSv1.2'] : ['TLSv1.3'];
  const taken = await Promise.all(
    versions.map(async (version) => {
      const { verdict, session } = await approach(target, { identity, version });
      return verdict.kind === 'admitted' ? [{ version, session }] : [];
    }),
  );
  return taken.flat();
};

/** To be asked once the certificate is revoked. */
export const examineResumption = async (target: Target, identity: Identity, taken: readonly TakenSession[]): Promise<Finding> => {
  if (taken.length === 0) return fail('no session could be made before the revocation', 'see why a good certificate does not get in, and run sallyport doctor again');
  const offered = taken.flatMap(({ version, session }) => (session === undefined ? [] : [{ version, session }]));
  if (offered.length === 0) return pass('no tickets are issued');
  const details: string[] = [];
  for (const { version, session } of offered) {
    const encounter = await approach(target, { identity, session, version });
    const finding = judgeRefusal(encounter, ['ERR_PEER_REVOKED'], target.url);
    const how = encounter.resumed ? 'resumed' : 'not resumed';
    if (finding.outcome !== 'pass') return { ...finding, detail: `${version} session ${how}, ${finding.detail}`, next: encounter.resumed ? 'every gateway of this address must be sallyport serve: it looks at the certificate of a resumed session again' : (finding.next ?? '') };
    details.push(`${version} ${how}, ${finding.detail}`);
  }
  return pass(details.join('; '));
};
