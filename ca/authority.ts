import { setTimeout as sleep } from 'node:timers/promises';
import { createPublicKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { recordAuthorities } from './adoption.ts';
import { ApprovalQueue } from './approval-queue.ts';
import { grantedBy, questionOf, requireWay, termsOf, ttlOf } from './asking.ts';
import type { AuthorityOptions, CreateAuthorityOptions, LoadAuthorityOptions } from './authority-options.ts';
import { CrlSchedule } from './crl-schedule.ts';
import type { IssuerSeries } from './crl-series.ts';
import { checkCsrContent, provenCsr, provenCsrAside, withStandIns } from './csr-content.ts';
import type { CrlPublisher } from './crl.ts';
import type { IssuanceWorld } from './durable-issuance.ts';
import { parseDuration } from './duration.ts';
import { createTokenText, isTokenFor, parseToken } from './enrollment.ts';
import { CaError } from './errors.ts';
import { certificateRefused, certificateUnknownIssued, renewalLate, tokenCreated, tokenDeleted, tokenRefused, tokenSpent } from './events.ts';
import { grantedToAgent, grantedToServer } from './grant.ts';
import { createHierarchy, loadHierarchy, publishedAt } from './hierarchy.ts';
import { HierarchyKeeper } from './hierarchy-keeper.ts';
import type { HierarchyFollower } from './hierarchy-keeper.ts';
import { IssuerServices } from './issuer-services.ts';
import { isTrusted, issuerIn, pathAbove, rootsPem, trustedOf } from './issuer.ts';
import type { CrossCertificate, Hierarchy, Issuer, IssuerRole } from './issuer.ts';
import { validityOf } from './issuance.ts';
import type { Granted } from './issuance.ts';
import { checkSubjectKey } from './key-policy.ts';
import { generatePrivateKey } from './key-store.ts';
import { KeyedLock } from './keyed-lock.ts';
import { lateness } from './late-renewal.ts';
import type { OcspResponders } from './ocsp-responders.ts';
import type { CertificateQuery, CertificateRecord, CertificateRequest, CrlRecord, CrlScope, CrlState, EnrollmentToken, IssuerId, IssuanceWay, KeyAlgorithm, ListedToken, RequestState, SerialHex, TokenQuery } from './ports.ts';
import { answerOf, fillOrder } from './order.ts';
import type { Order } from './order.ts';
import { ocspProfile, profilesOfAuthority } from './profile.ts';
import type { Profile } from './profile.ts';
import type {
  ApprovedRequest,
  CertificateKey,
  CreatedToken,
  EnrollRequest,
  IssuedCertificate,
  IssuerName,
  IssueRequest,
  IssueServerRequest,
  ReleaseResult,
  ReleaseSelector,
  RenewRequest,
  RevocationPreview,
  RevokeOptions,
  RevokeResult,
  RevokeSelector,
  TokenRequest,
} from './requests.ts';
import { activate, prepare, retire } from './rotation.ts';
import type { ActivateOptions, PrepareRequest, RetireOptions, Step } from './rotation.ts';
import { releaseSelected } from './release.ts';
import { Retirement } from './retirement.ts';
import { previewRevocation, revokeSelected } from './revocation.ts';
import { checkAgentName, checkOrganizationalUnits, checkTrustDomain } from './subject-rules.ts';
import { spkiOf } from './x509/algorithm.ts';
import { parseCertificate } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import type { Csr } from './x509/csr.ts';
import { generateSerial, serialToHex } from './x509/serial.ts';

/**
 * Issues, renews and revokes certificates and publishes CRLs. Whatever a method answers is on disk,
 * together with its audit entry. Refusals are `CaError`s and are audited too.
 */
export class CertificateAuthority {
  readonly trustDomain: string;
  readonly profiles: ReadonlyMap<string, Profile>;
  /** Answers OCSP requests about what issuing CAs issued; undefined when that is not wanted. */
  readonly ocsp: OcspResponders | undefined;
  readonly #options: AuthorityOptions;
  readonly #issuance: IssuanceWorld;
  readonly #services: IssuerServices;
  readonly #schedule: CrlSchedule;
  readonly #approvals: ApprovalQueue;
  readonly #retirement: Retirement;
  readonly #maxLive: number;
  readonly #keeper: HierarchyKeeper;
  #refusedKeys: ReadonlySet<string>;

  private constructor(hierarchy: Hierarchy, options: AuthorityOptions) {
    const { store, clock } = options;
    this.#refusedKeys = refusedKeys(hierarchy, options);
    this.#keeper = new HierarchyKeeper({
      ...options,
      hierarchy,
      onAdopted: (next) => {
        this.#refusedKeys = refusedKeys(next, options);
        for (const name of this.#services.follow(next)) this.#schedule.request(name);
      },
    });
    this.trustDomain = checkTrustDomain(options.trustDomain);
    // Refuses an unusable address now rather than at the first certificate.
    publishedAt(options.publicUrl, hierarchy.issuing);
    this.#options = options;
    this.#issuance = { store, clock, locks: new KeyedLock(), audited: new WeakSet() };
    this.profiles = profilesOfAuthority(options);
    this.#approvals = this.#createApprovals();
    this.#maxLive = options.maxLivePerAgent ?? 2;
    if (!Number.isInteger(this.#maxLive) || this.#maxLive < 1) throw new CaError('ERR_CA_LIMIT', 'maxLivePerAgent must be a whole number from 1');
    this.#services = new IssuerServices({ ...options, certifyResponder: (issuer, spki) => this.#certifyResponder(issuer, spki) });
    this.#services.follow(hierarchy);
    this.ocsp = this.#services.ocsp;
    this.#retirement = new Retirement({
      store, clock,
      overlapMs: options.retireReplaced === 'never' ? 'never' : parseDuration(options.retireReplaced ?? '1h') * 1_000,
      onRetired: (records) => this.#statusChanged(records),
      onError: options.onBackgroundError ?? (() => undefined),
    });
    this.#schedule = new CrlSchedule({
      publishers: this.#services.scheduled,
      clock,
      coalesceMs: options.crlCoalesceMs ?? 1_000,
      maintain: async () => {
        await this.recover();
      },
      onError: options.onBackgroundError ?? (() => undefined),
    });
  }

  /** Makes a hierarchy, in `directory` or in memory, records both CA certificates and publishes their first CRLs. */
  static async create(options: CreateAuthorityOptions): Promise<CertificateAuthority> {
    const authority = await CertificateAuthority.open(await createHierarchy(options), options);
    await authority.publishCrls('root');
    await authority.publishCrls('issuing');
    return authority;
  }

  /** Loads the hierarchy of a data directory. */
  static async load(options: LoadAuthorityOptions): Promise<CertificateAuthority> {
    return CertificateAuthority.open(await loadHierarchy(options), options);
  }

  /** An authority on a hierarchy at hand, for instance one whose signer lives elsewhere. */
  static async open(hierarchy: Hierarchy, options: AuthorityOptions): Promise<CertificateAuthority> {
    const authority = new CertificateAuthority(hierarchy, options);
    await recordAuthorities(hierarchy, options);
    await authority.recover();
    return authority;
  }

  /** The CAs that issue now; which ones these are can change while the authority runs. */
  get root(): Issuer {
    return this.hierarchy.root;
  }

  get issuing(): Issuer {
    return this.hierarchy.issuing;
  }

  /** PEM of issuing CA and root. */
  get chain(): string {
    return this.issuing.chain;
  }

  /** Every CA there ever was, oldest first. */
  get issuers(): readonly Issuer[] {
    return this.hierarchy.issuers;
  }

  /** As it is now. */
  get hierarchy(): Hierarchy {
    return this.#keeper.current;
  }

  get crossCertificates(): readonly CrossCertificate[] {
    return this.hierarchy.crossCertificates;
  }

  /** Grows with every change of which CAs there are and what each is for. */
  get sequence(): number {
    return this.hierarchy.sequence;
  }

  /** Those whose certificates are accepted, the active one first. */
  trusted(role: IssuerRole): readonly Issuer[] {
    return trustedOf(this.hierarchy, role);
  }

  /** Every root to be trusted, in PEM. */
  get roots(): string {
    return rootsPem(this.hierarchy);
  }

  /** The root that is pinned by tokens and ends the path that is shown for that: the oldest one still trusted above the active issuing CA. */
  get pinnedRoot(): Issuer {
    return pathAbove(this.hierarchy, this.issuing).root;
  }

  issuerById(id: IssuerId): Issuer | undefined {
    return this.issuers.find((issuer) => issuer.id === id);
  }

  issuerNamed(name: IssuerName): Issuer | undefined {
    return issuerIn(this.hierarchy, name);
  }

  /** Of a CA, or of one root by another (`root-2-by-root`). */
  certificateNamed(name: string): Certificate | undefined {
    return (this.issuerNamed(name) ?? this.crossCertificates.find((each) => each.name === name))?.certificate;
  }

  /** From now on told of each change, made in this process or in another; returns what ends it. */
  followHierarchy(follower: HierarchyFollower): () => void {
    return this.#keeper.follow(follower);
  }

  /** Reads the hierarchy again if another process changed it. Answers whether it did. @throws as `load` */
  refresh(): Promise<boolean> {
    return this.#keeper.refresh();
  }

  /** Makes the next root, with an issuing CA under it, or the next issuing CA: trusted from now on, and issuing once it is activated. */
  async prepareIssuer(request: PrepareRequest): Promise<readonly Issuer[]> {
    return this.changeHierarchy((hierarchy) => prepare(hierarchy, request, this.#options));
  }

  /** From now on this CA issues; the one before is superseded, and what it issued stays good. */
  async activateIssuer(name: IssuerName, options: ActivateOptions = {}): Promise<readonly Issuer[]> {
    return this.changeHierarchy((hierarchy) => activate(hierarchy, name, options, this.#options));
  }

  /** From now on nothing this CA issued is accepted. */
  async retireIssuer(name: IssuerName, options: RetireOptions = {}): Promise<readonly Issuer[]> {
    const retired = await this.changeHierarchy((hierarchy) => retire(hierarchy, name, options, this.#options));
    // Its certificate was revoked.
    for (const issuer of this.issuers) if (issuer.role === 'root') this.#schedule.request(issuer.name);
    return retired;
  }

  /** Puts the next hierarchy in force, of whose CAs every file is written. Answers with the CAs it is about. */
  changeHierarchy(step: (hierarchy: Hierarchy) => Promise<Step>): Promise<readonly Issuer[]> {
    return this.#keeper.change(step);
  }

  /** Certifies an agent on an operator's word. */
  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    const actor = request.actor ?? 'ca';
    return this.#auditing(request.agent, { actor }, async () => {
      const profile = this.#agentProfile(request.profile);
      requireWay(profile, request.way ?? 'operator');
      const asked = { organizationalUnits: request.organizationalUnits ?? [], email: request.email };
      const granted = grantedToAgent(this.trustDomain, request.agent, asked, profile);
      if (profile.approval === 'required') {
        return this.#approvals.ask({ ...questionOf({ ...request, actor }, profile, request.agent), terms: termsOf({ ...request, actor }, profile, { ...asked, hosts: [], standIns: request.standIns, wordGivenAt: request.onRevokedIdentity === 'allow' ? undefined : (request.wordGivenAt ?? new Date(0)) }) });
      }
      const key = await this.#subjectKey(request, withStandIns(granted, request.standIns), profile);
      return this.#fill(
        {
          agent: request.agent,
          granted,
          profile,
          ttlSeconds: ttlOf(request.ttl, profile),
          spki: key.spki,
          issuer: request.dangerouslyIssuer === 'root' ? this.root : this.issuing,
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
    return this.#auditing(agent, { actor }, async () => {
      const profile = this.#profile(request.profile ?? 'server');
      if (profile.kind !== 'server') throw new CaError('ERR_CA_PROFILE', `profile ${profile.name} is for agents; give one of kind server`);
      requireWay(profile, request.way ?? 'operator');
      const granted = grantedToServer(request.hosts, profile);
      if (profile.approval === 'required') {
        return this.#approvals.ask({ ...questionOf({ ...request, actor }, profile, agent), terms: termsOf({ ...request, actor }, profile, { organizationalUnits: [], email: undefined, hosts: request.hosts, wordGivenAt: undefined }) });
      }
      const key = await this.#subjectKey(request, granted, profile);
      return this.#fill(
        { agent, granted, profile, ttlSeconds: ttlOf(request.ttl, profile), spki: key.spki, issuer: this.issuing, replaces: undefined, revokedIdentity: 'ignore', actor },
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
    return this.#auditing(old?.agent, { actor }, async () => {
      const issuer = old === undefined ? undefined : this.issuerById(old.issuerId);
      if (old === undefined || issuer?.role !== 'issuing' || !isTrusted(issuer) || old.der === undefined) throw new CaError('ERR_CA_CERTIFICATE_UNKNOWN', 'the certificate presented for renewal was not issued here; enroll again', { facts: { ...presented } });
      const now = this.#options.clock.now();
      if (old.state === 'revoked') throw new CaError('ERR_CA_IDENTITY_REVOKED', 'the certificate presented for renewal is revoked; ask the operator for a new identity', { facts: { ...presented } });
      const late = await lateness(old, { store: this.#options.store, now, graceSeconds: this.#graceSeconds });
      // To present it is to use it, wherever that was.
      if (old.firstSeenAt === undefined) await this.#options.store.markSeen(presented, now);
      const profile = this.#agentProfile(old.profile);
      if (request.profile !== undefined && request.profile !== profile.name) throw new CaError('ERR_CA_PROFILE', `the certificate presented is of profile ${profile.name}, not ${request.profile}; renew it where that one is renewed`, { facts: { profile: profile.name } });
      requireWay(profile, 'renewal');
      if (request.way !== undefined) requireWay(profile, request.way);
      const [email] = parseCertificate(old.der).emails;
      const granted = grantedToAgent(this.trustDomain, old.agent, { organizationalUnits: old.organizationalUnits, email }, profile);
      const key = await this.#subjectKey(request, granted, profile);
      if (late !== undefined) await this.#options.store.recordEvent(renewalLate(old, { time: now, actor, lateSeconds: late }));
      // The lifetime once granted, within what the profile allows today.
      const before = (old.notAfter.getTime() + 1_000 - Math.floor(old.createdAt.getTime() / 1_000) * 1_000) / 1_000;
      return this.#fill(
        {
          agent: old.agent,
          granted,
          profile,
          ttlSeconds: Math.max(profile.minTtlSeconds, Math.min(profile.maxTtlSeconds, before)),
          spki: key.spki,
          issuer: this.issuing,
          replaces: old.serial,
          presented: { ...presented, expired: late !== undefined },
          // The presented certificate is the word; admission looks at it again. Once it has expired, what was said of the agent meanwhile stands.
          revokedIdentity: late === undefined ? 'ignore' : { wordGivenAt: old.createdAt },
          actor,
        },
        undefined,
      );
    });
  }

  /**
   * Revokes at once and durably; the change feed carries it to every enforcement point, the CRL
   * follows within a second. `close` waits for that CRL.
   */
  async revoke(selector: RevokeSelector, options: RevokeOptions = {}): Promise<RevokeResult> {
    const { store, clock } = this.#options;
    const result = await revokeSelected({ store, clock, sleep: (ms) => sleep(ms), intentPatienceMs: Math.min(2_000, this.#intentPatienceMs), graceSeconds: this.#graceSeconds }, selector, options);
    this.#statusChanged(result.revoked);
    return result;
  }

  /** What `revoke` would do with this selection and reason, without doing it. */
  async previewRevocation(selector: RevokeSelector, options: Pick<RevokeOptions, 'reason'> = {}): Promise<RevocationPreview> {
    return previewRevocation({ ...this.#options, graceSeconds: this.#graceSeconds }, selector, options);
  }

  /** Lifts holds: the certificates are good again, at every enforcement point and from the next CRL on. */
  async release(selector: ReleaseSelector, options: Pick<RevokeOptions, 'actor'> = {}): Promise<ReleaseResult> {
    const result = await releaseSelected(this.#options, selector, options);
    this.#statusChanged(result.released);
    return result;
  }

  /** A one-time token with which an agent may enroll. */
  async createToken(request: TokenRequest): Promise<CreatedToken> {
    const { store, clock, randomness } = this.#options;
    const profile = this.#agentProfile(request.profile);
    if (!profile.mayIssue.has('est')) requireWay(profile, 'token');
    const organizationalUnits = request.organizationalUnits ?? [];
    grantedToAgent(this.trustDomain, request.agent, organizationalUnits, profile);
    const seconds = parseDuration(request.ttl ?? '15m');
    if (seconds > 7 * 86_400) throw new CaError('ERR_CA_TTL', 'a token may be used for 7d at most; create it when it is needed');
    const ttlSeconds = request.certificateTtl === undefined ? undefined : ttlOf(request.certificateTtl, profile);
    const now = clock.now();
    const actor = request.actor ?? 'ca';
    const { text, secretHash } = createTokenText(this.pinnedRoot.der, randomness);
    const token: EnrollmentToken = {
      secretHash,
      agent: checkAgentName(request.agent),
      organizationalUnits: checkOrganizationalUnits(organizationalUnits),
      profile: profile.name,
      ttlSeconds,
      createdAt: now,
      expiresAt: new Date(now.getTime() + seconds * 1_000),
      createdBy: actor,
    };
    await store.insertToken(token, tokenCreated(token, { time: now, actor }));
    return { token: text, agent: token.agent, organizationalUnits, profile: profile.name, expiresAt: token.expiresAt };
  }

  /** Those that can still be used, and those that were or whose time has passed. */
  async tokens(query: TokenQuery = {}): Promise<readonly ListedToken[]> {
    return this.#options.store.tokens(query);
  }

  /** Takes a token back. `id` is its secret's hash. @throws CaError `ERR_TOKEN_UNKNOWN`, `ERR_TOKEN_SPENT` */
  async deleteToken(id: string, options: { readonly actor?: string } = {}): Promise<EnrollmentToken> {
    const { store, clock } = this.#options;
    return store.deleteToken(id, (token) => tokenDeleted(token, { time: clock.now(), actor: options.actor ?? 'ca' }));
  }

  /**
   * Spends a token for a certificate. What can be refused without the token's grants is refused before it is spent.
   * Where the profile demands approval it rejects with `ERR_REQUEST_PENDING`, and answers the same call once it is given.
   */
  async enroll(request: EnrollRequest): Promise<IssuedCertificate> {
    const { token, csr, waits } = await this.#spend(request);
    const actor = `token:${token.agent}`;
    return this.#auditing(token.agent, { actor, address: request.address }, async () => {
      const profile = this.#agentProfile(token.profile);
      if (waits) {
        const { address } = request;
        const asking = { actor, way: request.way ?? 'token', address, ...(token.createdBy === undefined ? {} : { vouchedBy: token.createdBy }) } as const;
        const terms = termsOf({ ...asking, ttl: token.ttlSeconds }, profile, { organizationalUnits: token.organizationalUnits, email: undefined, hosts: [], wordGivenAt: token.createdAt });
        const spend = { secretHash: token.secretHash, token, event: (spent: EnrollmentToken) => tokenSpent(spent, { time: this.#options.clock.now(), address }) };
        return this.#approvals.ask({ agent: token.agent, profile: profile.name, csr, credential: token.secretHash, terms, spend });
      }
      const granted = grantedToAgent(this.trustDomain, token.agent, token.organizationalUnits, profile);
      checkCsrContent(csr, granted, profile);
      checkSubjectKey(csr.spki, { allowed: profile.keyAlgorithms, refusedSpkiHashes: this.#refusedKeys });
      return this.#fill(
        {
          agent: token.agent,
          granted,
          profile,
          ttlSeconds: ttlOf(token.ttlSeconds, profile),
          spki: csr.spki,
          issuer: this.issuing,
          replaces: undefined,
          revokedIdentity: { wordGivenAt: token.createdAt },
          actor,
        },
        undefined,
      );
    });
  }

  /** Requests that wait for a second person, oldest first; of other states when asked for them. */
  async pendingRequests(states: readonly RequestState[] = ['pending']): Promise<readonly CertificateRequest[]> {
    return this.#approvals.list(states);
  }

  /** `ERR_REQUEST_UNKNOWN` */
  async request(id: string): Promise<CertificateRequest> {
    return this.#approvals.get(id);
  }

  /** Approves and issues. `ERR_REQUEST_FOUR_EYES` when the actor asked for it or made the token; `ERR_REQUEST_DECIDED` when somebody was first. */
  async approveRequest(id: string, decision: { readonly actor: string }): Promise<ApprovedRequest> {
    return this.#approvals.approve(id, decision);
  }

  async denyRequest(id: string, decision: { readonly actor: string; readonly reason: string }): Promise<CertificateRequest> {
    return this.#approvals.deny(id, decision);
  }

  /** Builds, checks, stores and writes new CRLs now: of every partition that certificates name, with its delta CRL. Answers with the complete ones. */
  async publishCrls(which: IssuerName, options: { readonly actor?: string } = {}): Promise<readonly CrlRecord[]> {
    return this.#publisher(which).publish(options);
  }

  /** The same, where one CRL is of all certificates. `ERR_CRL_SCOPE` where there is none such. */
  async publishCrl(which: IssuerName, options: { readonly actor?: string } = {}): Promise<CrlRecord> {
    const whole = (await this.publishCrls(which, options)).find(({ scope }) => scope.partitions === 1);
    if (whole === undefined) throw new CaError('ERR_CRL_SCOPE', `the CRLs of the ${which} CA are partitioned; take all of them with publishCrls`, { facts: { ca: which } });
    return whole;
  }

  /** The newest CRL, whichever process published it; of all certificates, unless told otherwise. `ERR_CRL_STALE` when there is none yet. */
  async currentCrl(which: IssuerName, options: { readonly scope?: CrlScope; readonly kind?: 'complete' | 'delta' } = {}): Promise<CrlRecord> {
    const latest = await this.#publisher(which).latest(options);
    if (latest === undefined) throw new CaError('ERR_CRL_STALE', `the ${which} CA has not published ${options.scope === undefined ? 'a' : 'this'} CRL yet; run sallyport crl --ca ${which}`);
    return latest;
  }

  /** Which CRLs of it there are; their octets come from `currentCrl`. */
  async crlStates(which: IssuerName): Promise<readonly CrlState[]> {
    return this.#options.store.crlStates(this.issuerNamed(which)?.id ?? '');
  }

  /** Declares intents that a crash left behind `unknownIssued`: listed, reported, revocable. Also done by `load` and `start`. */
  async recover(): Promise<readonly CertificateRecord[]> {
    const { store, clock } = this.#options;
    const now = clock.now();
    const recovered = await store.recoverIntents(new Date(now.getTime() - this.#intentPatienceMs), (record) => certificateUnknownIssued(record, { time: now, actor: 'ca' }));
    await this.#approvals.resume();
    return recovered;
  }

  /** Retires certificates whose successors have been in use for long enough. Also done by itself after `start`. */
  async retireReplaced(): Promise<readonly CertificateRecord[]> {
    return this.#retirement.sweep();
  }

  async certificates(query: CertificateQuery = {}): Promise<readonly CertificateRecord[]> {
    return this.#options.store.findCertificates(query);
  }

  /** Asks for a CRL soon, coalesced: for a gateway that hears from the change feed what another process revoked. */
  scheduleCrl(which: IssuerName, serials?: readonly SerialHex[]): void {
    this.#schedule.request(which, serials);
  }

  /** Keeps CRLs fresh from now on: a new one of each CA at start, then at half-life and after revocations. */
  async start(): Promise<void> {
    await this.#schedule.start();
    this.#retirement.start();
  }

  /** Publishes what revocations are waiting for and stops the timers. */
  async close(): Promise<void> {
    await this.#retirement.close();
    await this.#schedule.close();
  }

  #createApprovals(): ApprovalQueue {
    const { store, clock, randomness, requestExpiry, maxPendingRequests } = this.#options;
    return new ApprovalQueue({
      store, clock, randomness, expirySeconds: parseDuration(requestExpiry ?? '7d'), maxPending: maxPendingRequests ?? 1_000,
      reserve: () => ({ issuerId: this.issuing.id, serial: serialToHex(generateSerial(randomness)) }),
      check: (request) => {
        const { profile, ttlSeconds } = this.#orderOf(request);
        validityOf(clock.now(), profile, ttlSeconds, this.issuing.certificate);
      },
      issue: (request) => this.#auditing(request.agent, { actor: request.decidedBy ?? 'ca' }, () => this.#fill(this.#orderOf(request), undefined)),
      recall: (record, der) => answerOf(record, der, { hierarchy: this.hierarchy, issuer: this.issuerById(record.issuerId) ?? this.issuing }),
    });
  }

  /** What a request that waits, or waited, becomes by the profile of today. */
  #orderOf(request: CertificateRequest): Order {
    const { agent, terms } = request;
    const profile = this.#profile(request.profile);
    requireWay(profile, terms.way);
    const csr = provenCsr(request.csr);
    const granted = grantedBy(request, profile, this.trustDomain);
    checkCsrContent(csr, withStandIns(granted, terms.standIns), profile, terms);
    checkSubjectKey(csr.spki, { allowed: profile.keyAlgorithms, refusedSpkiHashes: this.#refusedKeys });
    return {
      agent, granted, profile, ttlSeconds: terms.ttlSeconds, spki: csr.spki, issuer: this.issuerById(request.issuerId ?? '') ?? this.issuing, replaces: undefined,
      revokedIdentity: terms.wordGivenAt === undefined ? 'ignore' : { wordGivenAt: terms.wordGivenAt },
      actor: request.decidedBy ?? terms.requestedBy,
      ...(request.serial === undefined ? {} : { serial: request.serial }),
    };
  }

  get #graceSeconds(): number {
    return this.#options.renewalGraceSeconds ?? 0;
  }

  get #intentPatienceMs(): number {
    return this.#options.intentPatienceMs ?? 60_000;
  }

  #statusChanged(records: readonly CertificateRecord[]): void {
    for (const [issuerId, changed] of Map.groupBy(records, (record) => record.issuerId)) {
      const issuer = this.issuerById(issuerId);
      if (issuer !== undefined) this.#schedule.request(issuer.name, changed.map(({ serial }) => serial));
    }
    // The change feed says it too, perhaps a moment later.
    for (const record of records) this.ocsp?.forget(record);
  }

  #publisher(which: IssuerName): CrlPublisher {
    const publisher = this.#services.publishers.get(which);
    if (publisher === undefined) throw new CaError('ERR_CA_MISSING', `there is no CA named ${JSON.stringify(which)}; use one of ${this.issuers.map(({ name }) => name).join(', ')}`, { facts: { ca: which } });
    return publisher;
  }

  async #certifyResponder(issuer: Issuer, spki: Uint8Array): Promise<Uint8Array> {
    const subject = [...issuer.certificate.subject.filter((rdn) => rdn.every(({ type }) => type === 'O')), [{ type: 'CN', value: 'OCSP Responder' }]];
    // No agent is named so: names have no colon.
    const agent = `ocsp:${issuer.name}`;
    const granted: Granted = { subject, uris: [], dnsNames: [], ipAddresses: [] };
    return this.#auditing(agent, { actor: 'ca' }, async () => {
      const order: Order = { agent, granted, profile: ocspProfile, ttlSeconds: ocspProfile.defaultTtlSeconds, spki, issuer, replaces: undefined, revokedIdentity: 'ignore', actor: 'ca' };
      return (await this.#fill(order, undefined)).der;
    });
  }

  #profile(name: string): Profile {
    const profile = this.profiles.get(name);
    if (profile === undefined) throw new CaError('ERR_CA_PROFILE', `there is no profile ${JSON.stringify(name)}; use one of ${[...this.profiles.keys()].join(', ')}`, { facts: { profile: name } });
    return profile;
  }

  #agentProfile(name = 'agent'): Profile {
    const profile = this.#profile(name);
    if (profile.kind === 'server') throw new CaError('ERR_CA_PROFILE', `profile ${name} is for servers; give one for agents`, { facts: { profile: name } });
    return profile;
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
    checkSubjectKey(spki, { allowed: profile.keyAlgorithms, refusedSpkiHashes: this.#refusedKeys });
    return { spki, privateKey };
  }

  /** `waits`: the profile demands approval, and the token is spent with the request that is left. */
  async #spend(request: EnrollRequest): Promise<{ readonly token: EnrollmentToken; readonly csr: Csr; readonly waits: boolean }> {
    const { store, clock } = this.#options;
    const time = clock.now();
    const { address } = request;
    try {
      const parsed = parseToken(request.token);
      if (!this.trusted('root').some(({ der }) => isTokenFor(parsed, der))) throw new CaError('ERR_TOKEN_INVALID', 'the token was made by another certificate authority; check the address');
      const csr = await provenCsrAside(request.csr);
      checkSubjectKey(csr.spki, { allowed: new Set([...this.profiles.values()].flatMap((profile) => [...profile.keyAlgorithms])), refusedSpkiHashes: this.#refusedKeys });
      const found = await store.findToken(parsed.secretHash);
      const known = found?.token;
      const profile = known === undefined ? undefined : this.profiles.get(known.profile);
      if (profile !== undefined) {
        requireWay(profile, request.way ?? 'token');
        if (request.profile !== undefined && request.profile !== profile.name) throw new CaError('ERR_TOKEN_INVALID', `the token is for profile ${profile.name}, not ${request.profile}; ask where that one is issued`);
      }
      // Also one that was left while the profile still demanded approval.
      const waits = profile?.approval === 'required' || (found?.spentAt !== undefined && (await this.#approvals.knows(parsed.secretHash)));
      if (known !== undefined && waits) return { token: known, csr, waits };
      const spending = await store.spendToken(parsed.secretHash, time, (token) => tokenSpent(token, { time, address }));
      if (spending.outcome === 'spent') return { token: spending.token, csr, waits: false };
      if (spending.outcome === 'alreadySpent') throw new CaError('ERR_TOKEN_SPENT', 'the token was used before; ask the operator for a new one, and who used it');
      if (spending.outcome === 'expired') throw new CaError('ERR_TOKEN_EXPIRED', 'the token has expired; ask the operator for a new one');
      throw new CaError('ERR_TOKEN_INVALID', 'the token is unknown; copy it whole, or ask the operator for a new one');
    } catch (error) {
      await store.recordEvent(tokenRefused(error, { time, address }));
      throw error;
    }
  }

  #fill(order: Order, privateKey: KeyObject | undefined): Promise<IssuedCertificate> {
    const { clock, randomness, publicUrl } = this.#options;
    const seriesOf = ({ name }: Issuer): IssuerSeries => {
      const series = this.#services.series.get(name);
      if (series === undefined) throw new CaError('ERR_CA_MISSING', `the ${name} CA is not of this hierarchy; see sallyport ca show`, { facts: { ca: name } });
      return series;
    };
    return fillOrder(order, {
      seriesOf,
      clock, randomness, publicUrl, privateKey, hierarchy: this.hierarchy, profiles: this.profiles,
      issuance: this.#issuance, maxLive: this.#maxLive, ocsp: this.ocsp !== undefined,
    });
  }

  /** Audits a refusal that left no intent behind; those that did were audited with it. */
  async #auditing<T>(agent: string | undefined, who: { readonly actor: string; readonly address?: string | undefined }, work: () => Promise<T>): Promise<T> {
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
}

/** No CA's key is an agent's. */
const refusedKeys = ({ issuers }: Hierarchy, { refusedSpkiHashes = [] }: AuthorityOptions): ReadonlySet<string> => new Set([...issuers.map(({ id }) => id), ...refusedSpkiHashes]);
