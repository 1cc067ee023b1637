/** Identities that live for one examination: recorded and audited as any other, and revoked when it is over. */
import { CertificateAuthority } from '../../ca/index.ts';
import type { CertificateKey, Clock, IssuedCertificate, Randomness } from '../../ca/index.ts';
import { grantedToAgent } from '../../ca/grant.ts';
import { createHierarchy } from '../../ca/hierarchy.ts';
import { endEntityTbs } from '../../ca/issuance.ts';
import { generatePrivateKey, signerOf } from '../../ca/key-store.ts';
import { createProfiles } from '../../ca/profile.ts';
import type { ProfileConfig } from '../../ca/profile.ts';
import { signatureAlgorithmFor } from '../../ca/x509/algorithm.ts';
import { assembleSigned } from '../../ca/x509/certificate.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { generateSerial } from '../../ca/x509/serial.ts';
import { SallyportError } from '../errors.ts';
import { pass, warn } from './check.ts';
import type { Finding } from './check.ts';
import type { Identity } from './encounter.ts';

export interface ThrowAwayOptions {
  readonly authority: CertificateAuthority;
  readonly randomness: Randomness;
  /** Who asks, for the audit log. */
  readonly actor: string;
}

export type ThrowAway = Identity & { readonly certificate: IssuedCertificate };

/** Long enough for one examination and clocks that differ a little. */
const lifetimeSeconds = 60;

/** Of their own, so that what an operator demands of agents and servers does not keep anybody from examining the gateway. */
export const throwAwayProfiles = {
  'doctor-agent': { kind: 'agent', defaultTtl: '1m', maxTtl: '10m', mayIssue: ['operator'] },
  'doctor-server': { kind: 'server', defaultTtl: '1m', maxTtl: '10m', mayIssue: ['operator'] },
} as const satisfies Readonly<Record<string, ProfileConfig>>;

export class ThrowAwayIdentities {
  readonly #authority: CertificateAuthority;
  readonly #actor: string;
  readonly #prefix: string;
  readonly #pending = new Set<Promise<unknown>>();
  readonly #live = new Map<string, CertificateKey>();
  #made = 0;

  constructor({ authority, randomness, actor }: ThrowAwayOptions) {
    this.#authority = authority;
    this.#actor = actor;
    this.#prefix = `doctor-${Buffer.from(randomness.bytes(4)).toString('hex')}`;
  }

  /** An agent without any organizational unit. */
  agent(what: string, options: { readonly ttlSeconds?: number; readonly dangerouslyIssuer?: 'root' } = {}): Promise<ThrowAway> {
    const { ttlSeconds = lifetimeSeconds, dangerouslyIssuer } = options;
    return this.#make(this.#authority.issue({ agent: `${this.#prefix}-${what}`, profile: this.#profile('doctor-agent', 'agent'), ttl: ttlSeconds, actor: this.#actor, ...(dangerouslyIssuer === undefined ? {} : { dangerouslyIssuer }) }));
  }

  /** RFC 2606 §2: no host has this name. */
  server(): Promise<ThrowAway> {
    return this.#make(this.#authority.issueServer({ hosts: [`${this.#prefix}.invalid`], profile: this.#profile('doctor-server', 'server'), ttl: lifetimeSeconds, actor: this.#actor }));
  }

  async revoke({ certificate: { issuerId, serial } }: ThrowAway): Promise<void> {
    await this.#authority.revoke({ issuerId, serial }, { reason: 'cessationOfOperation', actor: this.#actor });
    this.#live.delete(serial);
  }

  /** Revokes what is left, whatever became of the examination. */
  async clear(): Promise<Finding> {
    await Promise.allSettled(this.#pending);
    const failures: unknown[] = [];
    await Promise.all(
      [...this.#live].map(async ([serial, key]) => {
        try {
          await this.#authority.revoke(key, { reason: 'cessationOfOperation', actor: this.#actor });
          this.#live.delete(serial);
        } catch (error) {
          failures.push(error);
        }
      }),
    );
    const [first] = failures;
    if (first === undefined) return this.#made === 0 ? pass('none was made') : pass(`${this.#made} made and revoked, named ${this.#prefix}-…`);
    const serials = [...this.#live.keys()].join(', ');
    const why = first instanceof Error ? first.message : String(first);
    // Their keys were never written anywhere, and die with this process.
    return warn(`not revoked: serial ${serials} (${why}); they expire within ${lifetimeSeconds} s`, `sallyport revoke --serial HEX, for each of them`);
  }

  /** An authority that was not opened for this has the built-in ones. */
  #profile(own: keyof typeof throwAwayProfiles, instead: string): string {
    return this.#authority.profiles.has(own) ? own : instead;
  }

  async #make(issuing: Promise<IssuedCertificate>): Promise<ThrowAway> {
    const pending = issuing.then((certificate) => {
      this.#made += 1;
      this.#live.set(certificate.serial, { issuerId: certificate.issuerId, serial: certificate.serial });
      return certificate;
    });
    this.#pending.add(pending);
    const certificate = await pending;
    if (certificate.privateKey === undefined) throw new SallyportError('ERR_INTERNAL', 'the authority made no key');
    return { certificate, cert: certificate.chain, key: certificate.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
  }
}

/** A perfect identity of the same names, by a CA made in memory that nobody trusts. */
export const foreignIdentity = async (world: { readonly clock: Clock; readonly randomness: Randomness }, names: { readonly name: string; readonly trustDomain: string }): Promise<Identity> => {
  const { clock, randomness } = world;
  const { name, trustDomain } = names;
  const { issuing } = await createHierarchy({ name, trustDomain, clock, randomness });
  const { signer } = issuing;
  const profile = createProfiles().get('agent');
  if (signer === undefined || profile === undefined) throw new SallyportError('ERR_INTERNAL', 'the foreign CA cannot sign');
  const key = await generatePrivateKey('p256');
  const start = Math.floor(clock.now().getTime() / 1_000);
  const tbs = endEntityTbs({
    serial: generateSerial(randomness),
    issuer: issuing.certificate,
    issuerAlgorithm: signer.algorithm,
    profile,
    granted: grantedToAgent(trustDomain, 'doctor-foreign', [], profile),
    spki: signerOf(key).spki,
    validity: { notBefore: new Date((start - 60) * 1_000), notAfter: new Date((start + lifetimeSeconds) * 1_000) },
    publishedAt: undefined,
  });
  const leaf = encodePem('CERTIFICATE', assembleSigned(tbs, signatureAlgorithmFor(signer.algorithm), await signer.sign(tbs)));
  return { cert: leaf + issuing.pem, key: key.export({ type: 'pkcs8', format: 'pem' }).toString() };
};
