/** The ways to a certificate: an operator's word for an agent or a server, a certificate that is renewed, a request that was approved. */
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { ApprovalQueue } from './approval-queue.ts';
import { grantedBy, questionOf, requireWay, termsOf, ttlOf } from './asking.ts';
import type { AuthorityOptions } from './authority-options.ts';
import type { IssuerSeries } from './crl-series.ts';
import { checkCsrContent, provenCsr, provenCsrAside, withStandIns } from './csr-content.ts';
import type { IssuanceWorld } from './durable-issuance.ts';
import { parseDuration } from './duration.ts';
import { CaError } from './errors.ts';
import { certificateRefused, renewalLate } from './events.ts';
import { grantedToAgent, grantedToServer } from './grant.ts';
import { validityOf } from './issuance.ts';
import type { Granted } from './issuance.ts';
import { isTrusted } from './issuer.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { checkSubjectKey } from './key-policy.ts';
import { generatePrivateKey } from './key-store.ts';
import { KeyedLock } from './keyed-lock.ts';
import { lateness } from './late-renewal.ts';
import { answerOf, fillOrder } from './order.ts';
import type { Order } from './order.ts';
import type { CertificateRequest, IssuerId, IssuanceWay, KeyAlgorithm } from './ports.ts';
import { ocspProfile, profilesOfAuthority } from './profile.ts';
import type { Profile } from './profile.ts';
import type { CertificateKey, IssuedCertificate, IssuerName, IssueRequest, IssueServerRequest, RenewRequest } from './requests.ts';
import { spkiOf } from './x509/algorithm.ts';
import { parseCertificate } from './x509/certificate.ts';
import { generateSerial, serialToHex } from './x509/serial.ts';

export interface CertificationWorld {
  readonly options: AuthorityOptions;
  /** As it is now. */
  readonly hierarchy: () => Hierarchy;
  /** Of a CA of the hierarchy: into which CRL what it issues belongs. */
  readonly seriesOf: (name: IssuerName) => IssuerSeries | undefined;
  /** Whether certificates name an OCSP responder. */
  readonly ocsp: () => boolean;
}

export class Certification {
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly approvals: ApprovalQueue;
  readonly #world: CertificationWorld;
  readonly #options: AuthorityOptions;
  readonly #issuance: IssuanceWorld;
  readonly #maxLive: number;
  #refusedAmong: { readonly issuers: Hierarchy['issuers']; readonly keys: ReadonlySet<string> } | undefined;

  constructor(world: CertificationWorld) {
    const { options } = world;
    this.#world = world;
    this.#options = options;
    this.#issuance = { store: options.store, clock: options.clock, locks: new KeyedLock(), audited: new WeakSet() };
    this.profiles = profilesOfAuthority(options);
    this.approvals = this.#createApprovals();
    this.#maxLive = options.maxLivePerAgent ?? 2;
    if (!Number.isInteger(this.#maxLive) || this.#maxLive < 1) throw new CaError('ERR_CA_LIMIT', 'maxLivePerAgent must be a whole number from 1');
  }

  /** No CA's key is an agent's. */
  get refusedKeys(): ReadonlySet<string> {
    const { issuers } = this.#hierarchy;
    if (this.#refusedAmong?.issuers !== issuers) this.#refusedAmong = { issuers, keys: new Set([...issuers.map(({ id }) => id), ...(this.#options.refusedSpkiHashes ?? [])]) };
    return this.#refusedAmong.keys;
  }

  /** Certifies an agent on an operator's word. */
  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    const actor = request.actor ?? 'ca';
    return this.auditing(request.agent, { actor }, async () => {
      const profile = this.agentProfile(request.profile);
      requireWay(profile, request.way ?? 'operator');
      const asked = { organizationalUnits: request.organizationalUnits ?? [], email: request.email };
      const granted = grantedToAgent(this.#options.trustDomain, request.agent, asked, profile);
      if (profile.approval === 'required') {
        return this.approvals.ask({ ...questionOf({ ...request, actor }, profile, request.agent), terms: termsOf({ ...request, actor }, profile, { ...asked, hosts: [], standIns: request.standIns, wordGivenAt: request.onRevokedIdentity === 'allow' ? undefined : (request.wordGivenAt ?? new Date(0)) }) });
      }
      const key = await this.#subjectKey(request, withStandIns(granted, request.standIns), profile);
      return this.certify(
        {
          agent: request.agent,
          granted,
          profile,
          ttlSeconds: ttlOf(request.ttl, profile),
          spki: key.spki,
          issuer: request.dangerouslyIssuer === 'root' ? this.#hierarchy.root : this.#issuing,
          replaces: request.replaces?.serial,
          ...(request.replaces === undefined ? {} : { presented: request.replaces }),
          revokedIdentity: request.onRevokedIdentity === 'allow' ? 'ignore' : { wordGivenAt: request.wordGivenAt ?? new Date(0) },
          actor,
        },
        key.privateKey,
      );
    });
  }

  /** Certifies a TLS server. There is no limit on how many live certificates a server has. */
  async issueServer(request: IssueServerRequest): Promise<IssuedCertificate> {
    const actor = request.actor ?? 'ca';
    const agent = request.hosts[0] ?? '';
    return this.auditing(agent, { actor }, async () => {
      const profile = this.profile(request.profile ?? 'server');
      if (profile.kind !== 'server') throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} is for agents; give one of kind server`);
      requireWay(profile, request.way ?? 'operator');
      const granted = grantedToServer(request.hosts, profile);
      if (profile.approval === 'required') {
        return this.approvals.ask({ ...questionOf({ ...request, actor }, profile, agent), terms: termsOf({ ...request, actor }, profile, { organizationalUnits: [], email: undefined, hosts: request.hosts, wordGivenAt: undefined }) });
      }
      const key = await this.#subjectKey(request, granted, profile);
      return this.certify(
        { agent, granted, profile, ttlSeconds: ttlOf(request.ttl, profile), spki: key.spki, issuer: this.#issuing, replaces: undefined, revokedIdentity: 'ignore', actor },
        key.privateKey,
      );
    });
  }

  /**
   * A successor for a live certificate of ours, or one that expired within the grace: same agent, OUs, profile and lifetime. The caller has
   * seen proof that the other side holds the presented certificate's key: it came over mutual TLS.
   */
  async renew(presented: CertificateKey, request: RenewRequest): Promise<IssuedCertificate> {
    const [old] = await this.#options.store.findCertificates({ issuerId: presented.issuerId, serial: presented.serial, limit: 1 });
    const actor = request.actor ?? `agent:${old?.agent ?? 'unknown'}`;
    return this.auditing(old?.agent, { actor }, async () => {
      const issuer = old === undefined ? undefined : this.#issuerById(old.issuerId);
      if (old === undefined || issuer?.role !== 'issuing' || !isTrusted(issuer) || old.der === undefined) throw new CaError('ERR_CA_CERTIFICATE_UNKNOWN', 'the certificate presented for renewal was not issued here; enroll again', { facts: { ...presented } });
      const now = this.#options.clock.now();
      if (old.state === 'revoked') throw new CaError('ERR_CA_IDENTITY_REVOKED', 'the certificate presented for renewal is revoked; ask the operator for a new identity', { facts: { ...presented } });
      const late = await lateness(old, { store: this.#options.store, now, graceSeconds: (this.#options.renewalGraceSeconds ?? 0) });
      // To present it is to use it, wherever that was.
      if (old.firstSeenAt === undefined) await this.#options.store.markSeen(presented, now);
      const profile = this.agentProfile(old.profile);
      if (request.profile !== undefined && request.profile !== profile.name) throw new CaError('ERR_CA_PROFILE', `the certificate presented is of profile ${profile.name}, not ${request.profile}; renew it where that one is renewed`, { facts: { profile: profile.name } });
      requireWay(profile, 'renewal');
      if (request.way !== undefined) requireWay(profile, request.way);
      const [email] = parseCertificate(old.der).emails;
      const granted = grantedToAgent(this.#options.trustDomain, old.agent, { organizationalUnits: old.organizationalUnits, email }, profile);
      const key = await this.#subjectKey(request, granted, profile);
      if (late !== undefined) await this.#options.store.recordEvent(renewalLate(old, { time: now, actor, lateSeconds: late }));
      // The lifetime once granted, within what the profile allows today.
      const before = (old.notAfter.getTime() + 1_000 - Math.floor(old.createdAt.getTime() / 1_000) * 1_000) / 1_000;
      return this.certify(
        {
          agent: old.agent,
          granted,
          profile,
          ttlSeconds: Math.max(profile.minTtlSeconds, Math.min(profile.maxTtlSeconds, before)),
          spki: key.spki,
          issuer: this.#issuing,
          replaces: old.serial,
          presented: { ...presented, expired: late !== undefined },
          // The presented certificate is the word; admission looks at it again. Once it has expired, what was said of the agent meanwhile stands.
          revokedIdentity: late === undefined ? 'ignore' : { wordGivenAt: old.createdAt },
          actor,
        },
      );
    });
  }

  /** For the key that signs OCSP answers about what an issuer issued. */
  async certifyResponder(issuer: Issuer, spki: Uint8Array): Promise<Uint8Array> {
    const subject = [...issuer.certificate.subject.filter((rdn) => rdn.every(({ type }) => type === 'O')), [{ type: 'CN', value: 'OCSP Responder' }]];
    // No agent is named so: names have no colon.
    const agent = `ocsp:${issuer.name}`;
    const granted: Granted = { subject, uris: [], dnsNames: [], ipAddresses: [] };
    return this.auditing(agent, { actor: 'ca' }, async () => {
      const order: Order = { agent, granted, profile: ocspProfile, ttlSeconds: ocspProfile.defaultTtlSeconds, spki, issuer, replaces: undefined, revokedIdentity: 'ignore', actor: 'ca' };
      return (await this.certify(order)).der;
    });
  }

  profile(name: string): Profile {
    const profile = this.profiles.get(name);
    if (profile === undefined) throw new CaError('ERR_CA_PROFILE', `there is no profile ${JSON.stringify(name)}; use one of ${[...this.profiles.keys()].join(', ')}`, { facts: { profile: name } });
    return profile;
  }

  agentProfile(name = 'agent'): Profile {
    const profile = this.profile(name);
    if (profile.kind === 'server') throw new CaError('ERR_CA_PROFILE', `profile ${name} is for servers; give one for agents`, { facts: { profile: name } });
    return profile;
  }

  /** What is ordered was granted: this makes the certificate, in the durable order. `privateKey` is handed out with it when it was made here. */
  certify(order: Order, privateKey?: KeyObject): Promise<IssuedCertificate> {
    const { clock, randomness, publicUrl } = this.#options;
    const seriesOf = ({ name }: Issuer): IssuerSeries => {
      const series = this.#world.seriesOf(name);
      if (series === undefined) throw new CaError('ERR_CA_MISSING', `the ${name} CA is not of this hierarchy; see sallyport ca show`, { facts: { ca: name } });
      return series;
    };
    return fillOrder(order, {
      seriesOf,
      clock, randomness, publicUrl, privateKey, hierarchy: this.#hierarchy, profiles: this.profiles,
      issuance: this.#issuance, maxLive: this.#maxLive, ocsp: this.#world.ocsp(),
    });
  }

  /** Audits a refusal that left no intent behind; those that did were audited with it. */
  async auditing<T>(agent: string | undefined, who: { readonly actor: string; readonly address?: string | undefined }, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      const { store, clock } = this.#options;
      const recorded = typeof error === 'object' && error !== null && this.#issuance.audited.has(error);
      // That it waits is no refusal, and was audited when the request was left.
      const waits = error instanceof CaError && error.code === 'ERR_REQUEST_PENDING';
      if (!recorded && !waits) await store.recordEvent(certificateRefused(agent?.slice(0, 64), error, { time: clock.now(), ...who })).catch(() => undefined);
      throw error;
    }
  }

  #createApprovals(): ApprovalQueue {
    const { store, clock, randomness, requestExpiry, maxPendingRequests } = this.#options;
    return new ApprovalQueue({
      store, clock, randomness, expirySeconds: parseDuration(requestExpiry ?? '7d'), maxPending: maxPendingRequests ?? 1_000,
      reserve: () => ({ issuerId: this.#issuing.id, serial: serialToHex(generateSerial(randomness)) }),
      check: (request) => {
        const { profile, ttlSeconds } = this.#orderOf(request);
        validityOf(clock.now(), profile, ttlSeconds, this.#issuing.certificate);
      },
      issue: (request) => this.auditing(request.agent, { actor: request.decidedBy ?? 'ca' }, () => this.certify(this.#orderOf(request))),
      recall: (record, der) => answerOf(record, der, { hierarchy: this.#hierarchy, issuer: this.#issuerById(record.issuerId) ?? this.#issuing }),
    });
  }

  /** What a request that waits, or waited, becomes by the profile of today. */
  #orderOf(request: CertificateRequest): Order {
    const { agent, terms } = request;
    const profile = this.profile(request.profile);
    requireWay(profile, terms.way);
    const csr = provenCsr(request.csr);
    const granted = grantedBy(request, profile, this.#options.trustDomain);
    checkCsrContent(csr, withStandIns(granted, terms.standIns), profile, terms);
    checkSubjectKey(csr.spki, { allowed: profile.keyAlgorithms, refusedSpkiHashes: this.refusedKeys });
    return {
      agent, granted, profile, ttlSeconds: terms.ttlSeconds, spki: csr.spki, issuer: this.#issuerById(request.issuerId ?? '') ?? this.#issuing, replaces: undefined,
      revokedIdentity: terms.wordGivenAt === undefined ? 'ignore' : { wordGivenAt: terms.wordGivenAt },
      actor: request.decidedBy ?? terms.requestedBy,
      ...(request.serial === undefined ? {} : { serial: request.serial }),
    };
  }

  /** The key to certify: from the request, whose sender proved to hold it, or made here. */
  async #subjectKey(
    from: { readonly csr?: Uint8Array | string; readonly publicKey?: KeyObject; readonly keyAlgorithm?: KeyAlgorithm; readonly way?: IssuanceWay },
    granted: Granted,
    profile: Profile,
  ): Promise<{ readonly spki: Uint8Array; readonly privateKey: KeyObject | undefined }> {
    let spki: Uint8Array;
    let privateKey: KeyObject | undefined;
    if (from.csr !== undefined) {
      const csr = await provenCsrAside(from.csr);
      checkCsrContent(csr, granted, profile, from);
      spki = csr.spki;
    } else if (from.publicKey !== undefined) spki = spkiOf(from.publicKey);
    else {
      const algorithm = from.keyAlgorithm ?? (profile.keyAlgorithms.has('p256') ? 'p256' : ([...profile.keyAlgorithms][0] ?? 'p256'));
      privateKey = await generatePrivateKey(algorithm);
      spki = spkiOf(createPublicKey(privateKey));
    }
    checkSubjectKey(spki, { allowed: profile.keyAlgorithms, refusedSpkiHashes: this.refusedKeys });
    return { spki, privateKey };
  }

  get #hierarchy(): Hierarchy {
    return this.#world.hierarchy();
  }

  get #issuing(): Issuer {
    return this.#hierarchy.issuing;
  }

  #issuerById(id: IssuerId): Issuer | undefined {
    return this.#hierarchy.issuers.find((issuer) => issuer.id === id);
  }
}
