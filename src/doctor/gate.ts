/** The gate itself: whoever should be refused approaches it, and one who should not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { readPrivateKey } from '../../ca/index.ts';
import { readKeyFile } from '../../ca/key-store.ts';
import { isKeyUri } from '../../ca/pkcs11/uri.ts';
import type { CertificateAuthority, Clock, Randomness } from '../../ca/index.ts';
import type { Config } from '../config/load.ts';
import { attempt, fail, failedWith, pass, skip, warn } from './check.ts';
import type { CheckId, Finding } from './check.ts';
import { approach, hold } from './encounter.ts';
import type { Encounter, Identity, Target } from './encounter.ts';
import { judgeRefusal } from './judgement.ts';
import { examineResumption, takeSessions } from './resumption.ts';
import { foreignIdentity, ThrowAwayIdentities } from './throw-away.ts';

export interface GateOptions {
  readonly target: Target;
  /** Undefined when the data directory did not open: then only those who need no identity of ours approach. */
  readonly authority: CertificateAuthority | undefined;
  readonly config: Pick<Config, 'name' | 'trustDomain' | 'gateway'>;
  readonly issuingKeyFile: string;
  readonly passphrase: string | undefined;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly actor: string;
}

type Findings = readonly (readonly [CheckId, Finding])[];

/** How long a gateway may take to hear of a revocation: it needs milliseconds. */
const revocationMs = 1_500;

/** `encounter` is the one without a certificate, by which the gateway was found. */
export const examineGate = async (options: GateOptions, encounter: Encounter): Promise<Findings> => {
  const { target, authority } = options;
  const noCertificate = judgeRefusal(encounter, ['ERR_PEER_NO_CERTIFICATE'], target.url);
  const foreign = attempt(() => examineForeign(options));
  if (authority === undefined) return [['noCertificate', noCertificate], ['foreignAuthority', await foreign], ...needsAuthority.map((id) => [id, skip('the data directory does not open')] as const)];
  const identities = new ThrowAwayIdentities({ ...options, authority });
  const findings = await Promise.all([
    one('expired', () => examineExpired(options, identities)),
    one('goodCertificate', () => examineGood(options, identities)),
    one('tls12', () => examineTls12(options, identities)),
    several(['revoked', 'openConnection', 'resumedSession'], () => examineRevocation(options, identities)),
    one('serverOnly', () => examineServerOnly(target, identities)),
    one('authorityAsLeaf', () => examineAuthorityAsLeaf(options, authority)),
    one('leafOfRoot', () => examineLeafOfRoot(options, authority, identities)),
  ]);
  // None of them rejects, so nothing stays valid.
  return [['noCertificate', noCertificate], ['foreignAuthority', await foreign], ...findings.flat(), ['cleanUp', await identities.clear()]];
};

const needsAuthority: readonly CheckId[] = ['goodCertificate', 'expired', 'revoked', 'openConnection', 'resumedSession', 'serverOnly', 'authorityAsLeaf', 'leafOfRoot', 'tls12', 'cleanUp'];

/** Checks of the gate, skipped when there is none. */
export const gateChecks: readonly CheckId[] = ['noCertificate', 'foreignAuthority', ...needsAuthority];

const one = async (id: CheckId, examine: () => Promise<Finding>): Promise<Findings> => [[id, await attempt(examine)]];

const several = async (ids: readonly CheckId[], examine: () => Promise<Findings>): Promise<Findings> => {
  try {
    return await examine();
  } catch (error) {
    return ids.map((id) => [id, failedWith(error)] as const);
  }
};

const examineServerOnly = async (target: Target, identities: ThrowAwayIdentities): Promise<Finding> =>
  judgeRefusal(await approach(target, { identity: await identities.server() }), ['ERR_PEER_PROFILE'], target.url);

const examineForeign = async ({ target, config: { name, trustDomain }, clock, randomness }: GateOptions): Promise<Finding> =>
  judgeRefusal(await approach(target, { identity: await foreignIdentity({ clock, randomness }, { name, trustDomain }) }), ['ERR_PEER_UNTRUSTED'], target.url);

const examineGood = async ({ target }: GateOptions, identities: ThrowAwayIdentities): Promise<Finding> => {
  const { verdict } = await approach(target, { identity: await identities.agent('good') });
  if (verdict.kind === 'admitted') return pass(`passed TLS: ${verdict.how}`);
  const why = verdict.kind === 'unreachable' ? verdict.why : `${verdict.how}${verdict.code === undefined ? '' : ` (${verdict.code})`}`;
  const next = 'nobody gets in, so the refusals prove little: see that the gateway serves this data directory, and look at sallyport audit tail --denied';
  return fail(`not let in: ${why}`, verdict.kind === 'refused' && verdict.code === 'ERR_PEER_STATUS_UNKNOWN' ? 'the gateway does not hear of revocations and refuses everybody: look at its log, and at the store' : next);
};

const examineExpired = async ({ target, clock }: GateOptions, identities: ThrowAwayIdentities): Promise<Finding> => {
  const identity = await identities.agent('expired', { ttlSeconds: 1 });
  // RFC 5280 §4.1.2.5: notAfter is inclusive. A little more, as the gateway has a clock of its own.
  const expiredAt = identity.certificate.notAfter.getTime() + 1_000;
  await sleep(Math.max(0, expiredAt - clock.now().getTime()) + 300);
  return judgeRefusal(await approach(target, { identity }), ['ERR_PEER_EXPIRED'], target.url);
};

const examineTls12 = async ({ target, config }: GateOptions, identities: ThrowAwayIdentities): Promise<Finding> => {
  if (config.gateway.minTlsVersion === 'TLSv1.2') return skip('allowed by gateway.minTlsVersion');
  const { verdict, version } = await approach(target, { identity: await identities.agent('tls12'), version: 'TLSv1.2' });
  const next = `${target.url.host} speaks TLS 1.2, which shows certificates to the network: see that it is the gateway itself that answers there, started after gateway.minTlsVersion was set`;
  if (verdict.kind === 'unreachable') return fail(`no verdict: ${verdict.why}`, 'see that the gateway is not overloaded, and run sallyport doctor again');
  if (verdict.kind === 'admitted' || version !== undefined) return fail(`spoken: ${verdict.how}`, next);
  return verdict.code === 'PROTOCOL_VERSION' ? pass(`refused: ${verdict.how}`) : warn(`refused, but not said why: ${verdict.how}`, `see what stands between this machine and ${target.url.host}`);
};

/** Its key proves possession and its path is good; only what it is for is wrong. */
const examineAuthorityAsLeaf = async ({ target, issuingKeyFile, passphrase }: GateOptions, { issuing }: CertificateAuthority): Promise<Finding> => {
  if (isKeyUri((await readKeyFile(issuingKeyFile)).pem)) return skip('the key of the issuing CA is on a token');
  const key = await readPrivateKey(issuingKeyFile, { passphrase });
  const identity = { key: key.export({ type: 'pkcs8', format: 'pem' }).toString(), cert: issuing.pem };
  return judgeRefusal(await approach(target, { identity }), ['ERR_PEER_PROFILE', 'ERR_PEER_ISSUER'], target.url);
};

const examineLeafOfRoot = async ({ target }: GateOptions, { root }: CertificateAuthority, identities: ThrowAwayIdentities): Promise<Finding> => {
  if (root.signer === undefined) return skip('the key of the root is not here');
  return judgeRefusal(await approach(target, { identity: await identities.agent('of-root', { dangerouslyIssuer: 'root' }) }), ['ERR_PEER_ISSUER'], target.url);
};

/** A revocation in its four places, of which the request is the same as the connection here. */
const examineRevocation = async ({ target, config }: GateOptions, identities: ThrowAwayIdentities): Promise<Findings> => {
  const [revoked, held] = await Promise.all([identities.agent('revoked'), identities.agent('resumed')]);
  const [connection, sessions] = await Promise.all([hold(target, { identity: revoked }), takeSessions(target, held, config.gateway.minTlsVersion)]);
  try {
    // In this order: a gateway applies revocations as they came, so one that refuses the second knows the first.
    await identities.revoke(held);
    await identities.revoke(revoked);
    const since = performance.now();
    const [cut, handshake] = await Promise.all([connection.closed(revocationMs), refusedInTime(target, { identity: revoked }, since)]);
    return [
      ['revoked', judgeRevoked(handshake, target.url)],
      ['openConnection', judgeOpenConnection(connection.verdict, cut)],
      ['resumedSession', await attempt(() => examineResumption(target, held, sessions))],
    ];
  } finally {
    connection.release();
  }
};

interface RefusedInTime {
  readonly encounter: Encounter;
  readonly afterMs: number;
}

/** Comes again as long as it is let in and there is time. */
const refusedInTime = async (target: Target, how: { readonly identity: Identity }, since: number): Promise<RefusedInTime> => {
  for (let pauseMs = 5; ; pauseMs = Math.min(pauseMs * 2, 200)) {
    const encounter = await approach(target, how);
    const afterMs = performance.now() - since;
    if (encounter.verdict.kind !== 'admitted' || afterMs >= revocationMs) return { encounter, afterMs };
    await sleep(pauseMs);
  }
};

const revocationIgnored = 'see that the gateway uses the store of this data directory, look at its log, and restart it: a gateway refuses what is revoked from its start';

const judgeRevoked = ({ encounter, afterMs }: RefusedInTime, url: URL): Finding => {
  const finding = judgeRefusal(encounter, ['ERR_PEER_REVOKED'], url);
  if (encounter.verdict.kind === 'admitted') return fail(`still let in ${Math.round(afterMs)} ms after its revocation: ${encounter.verdict.how}`, revocationIgnored);
  return finding.outcome === 'pass' ? pass(`${finding.detail}, at the latest ${Math.ceil(afterMs)} ms after its revocation`) : finding;
};

const judgeOpenConnection = (before: Encounter['verdict'], cut: boolean): Finding => {
  if (before.kind !== 'admitted') return fail(`there was none to cut: ${before.kind === 'refused' ? before.how : before.why}`, 'see why a good certificate does not get in, and run sallyport doctor again');
  return cut ? pass('cut') : fail(`still open ${revocationMs} ms after the revocation`, revocationIgnored);
};
