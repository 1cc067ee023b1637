import { setTimeout as sleep } from 'node:timers/promises';
import { recordAuthorities } from './adoption.ts';
import type { AuthorityOptions, CreateAuthorityOptions, LoadAuthorityOptions } from './authority-options.ts';
import { Certification } from './certification.ts';
import { CrlSchedule } from './crl-schedule.ts';
import type { CrlPublisher } from './crl.ts';
import { parseDuration } from './duration.ts';
import { CaError } from './errors.ts';
import { certificateUnknownIssued } from './events.ts';
import { HierarchyKeeper } from './hierarchy-keeper.ts';
import type { HierarchyFollower } from './hierarchy-keeper.ts';
import { createHierarchy, loadHierarchy, publishedAt } from './hierarchy.ts';
import { IssuerServices } from './issuer-services.ts';
import { issuerIn, pathAbove, rootsPem, trustedOf } from './issuer.ts';
import type { CrossCertificate, Hierarchy, Issuer, IssuerRole } from './issuer.ts';
import type { OcspResponders } from './ocsp-responders.ts';
import type { CertificateQuery, CertificateRecord, CertificateRequest, CrlRecord, CrlScope, CrlState, EnrollmentToken, IssuerId, ListedToken, RequestState, SerialHex, TokenQuery } from './ports.ts';
import type { Profile } from './profile.ts';
import { releaseSelected } from './release.ts';
import type { ApprovedRequest, CertificateKey, CreatedToken, EnrollRequest, IssuedCertificate, IssuerName, IssueRequest, IssueServerRequest, ReleaseResult, ReleaseSelector, RenewRequest, RevocationPreview, RevokeOptions, RevokeResult, RevokeSelector, TokenRequest } from './requests.ts';
import { Retirement } from './retirement.ts';
import { previewRevocation, revokeSelected } from './revocation.ts';
import { activate, prepare, retire } from './rotation.ts';
import type { ActivateOptions, PrepareRequest, RetireOptions, Step } from './rotation.ts';
import { checkTrustDomain } from './subject-rules.ts';
import { TokenDesk } from './token-desk.ts';
import type { Certificate } from './x509/certificate.ts';

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
  readonly #services: IssuerServices;
  readonly #schedule: CrlSchedule;
  readonly #certification: Certification;
  readonly #tokens: TokenDesk;
  readonly #retirement: Retirement;
  readonly #keeper: HierarchyKeeper;

  private constructor(hierarchy: Hierarchy, options: AuthorityOptions) {
    const { store, clock } = options;
    this.#keeper = new HierarchyKeeper({
      ...options,
      hierarchy,
      onAdopted: (next) => {
        for (const name of this.#services.follow(next)) this.#schedule.request(name);
      },
    });
    this.trustDomain = checkTrustDomain(options.trustDomain);
    // Refuses an unusable address now rather than at the first certificate.
    publishedAt(options.publicUrl, hierarchy.issuing);
    this.#options = options;
    this.#certification = new Certification({
      options,
      hierarchy: () => this.hierarchy,
      seriesOf: (name) => this.#services.series.get(name),
      ocsp: () => this.ocsp !== undefined,
    });
    this.profiles = this.#certification.profiles;
    this.#tokens = new TokenDesk({ options, certification: this.#certification, hierarchy: () => this.hierarchy });
    this.#services = new IssuerServices({ ...options, certifyResponder: (issuer, spki) => this.#certification.certifyResponder(issuer, spki) });
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
    return this.changeHierarchy((hierarchy) => retire(hierarchy, name, options, this.#options));
  }

  /** Puts the next hierarchy in force, of whose CAs every file is written. Answers with the CAs it is about. */
  changeHierarchy(step: (hierarchy: Hierarchy) => Promise<Step>): Promise<readonly Issuer[]> {
    return this.#keeper.change(step).finally(() => {
      // What a root revoked. Also what an attempt that was killed left unpublished, when this one finds nothing else left to do.
      for (const { name, role } of this.issuers) this.#schedule.request(name, role === 'root' ? undefined : []);
    });
  }

  /** Certifies an agent on an operator's word. */
  async issue(request: IssueRequest): Promise<IssuedCertificate> {
    return this.#certification.issue(request);
  }

  /** Certifies a TLS server. There is no limit on how many live certificates a server has. */
  async issueServer(request: IssueServerRequest): Promise<IssuedCertificate> {
    return this.#certification.issueServer(request);
  }

  /**
   * A successor for a live certificate of ours, or one that expired within the grace: same agent, OUs, profile and lifetime. The caller has
   * seen proof that the other side holds the presented certificate's key: it came over mutual TLS.
   */
  async renew(presented: CertificateKey, request: RenewRequest): Promise<IssuedCertificate> {
    return this.#certification.renew(presented, request);
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
  async release(selector: ReleaseSelector, options: Pick<RevokeOptions, 'actor' | 'among'> = {}): Promise<ReleaseResult> {
    const result = await releaseSelected(this.#options, selector, options);
    this.#statusChanged(result.released);
    return result;
  }

  /** A one-time token with which an agent may enroll. */
  async createToken(request: TokenRequest): Promise<CreatedToken> {
    return this.#tokens.create(request);
  }

  /** Those that can still be used, and those that were or whose time has passed. */
  async tokens(query: TokenQuery = {}): Promise<readonly ListedToken[]> {
    return this.#tokens.list(query);
  }

  /** Takes a token back. `id` is its secret's hash. @throws CaError `ERR_TOKEN_UNKNOWN`, `ERR_TOKEN_SPENT` */
  async deleteToken(id: string, options: { readonly actor?: string } = {}): Promise<EnrollmentToken> {
    return this.#tokens.delete(id, options);
  }

  /**
   * Spends a token for a certificate. What can be refused without the token's grants is refused before it is spent.
   * Where the profile demands approval it rejects with `ERR_REQUEST_PENDING`, and answers the same call once it is given.
   */
  async enroll(request: EnrollRequest): Promise<IssuedCertificate> {
    return this.#tokens.enroll(request);
  }

  /** Requests that wait for a second person, oldest first; of other states when asked for them. */
  async pendingRequests(states: readonly RequestState[] = ['pending']): Promise<readonly CertificateRequest[]> {
    return this.#certification.approvals.list(states);
  }

  /** `ERR_REQUEST_UNKNOWN` */
  async request(id: string): Promise<CertificateRequest> {
    return this.#certification.approvals.get(id);
  }

  /** Approves and issues. `ERR_REQUEST_FOUR_EYES` when the actor asked for it or made the token; `ERR_REQUEST_DECIDED` when somebody was first. */
  async approveRequest(id: string, decision: { readonly actor: string }): Promise<ApprovedRequest> {
    return this.#certification.approvals.approve(id, decision);
  }

  async denyRequest(id: string, decision: { readonly actor: string; readonly reason: string }): Promise<CertificateRequest> {
    return this.#certification.approvals.deny(id, decision);
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
    await this.#certification.approvals.resume();
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

}
