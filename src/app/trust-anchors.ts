/** All anchors of `trust:` of a running gateway: kept current, looked after, told of. */
import type { Logger } from 'pino';
import type { AuditEvent, Clock, Randomness } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName } from '../../ca/x509/name.ts';
import type { Config } from '../config/load.ts';
import { codeOf } from '../errors.ts';
import type { FetchDocument } from '../revocation/fetch-document.ts';
import { fetchDocument } from '../revocation/fetch-document.ts';
import type { AskedAbout } from '../revocation/ocsp-source.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';
import type { TrustAnchor } from '../tls/trust-anchor.ts';
import type { TrustedIssuer } from '../tls/trust.ts';
import { FollowedAnchor } from './followed-anchor.ts';
import type { FollowedAnchorState } from './followed-anchor.ts';
import { gapsOf } from './trust-standing.ts';
import { watchFiles } from './watch-files.ts';

export interface TrustAnchorsOptions {
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly record: (event: AuditEvent) => void;
  readonly fetch?: FetchDocument | undefined;
}

const LOOK_AFTER_MS = 30_000;
/** Part of its life after which a status list that nobody renewed is worth a warning. */
const WARN_FROM = 0.75;

export class TrustAnchors {
  readonly #options: TrustAnchorsOptions;
  readonly #followed: ReadonlyMap<string, FollowedAnchor>;
  readonly #warned = new Map<string, string>();
  readonly #stops: (() => void)[] = [];
  #inUse: () => Iterable<{ readonly certificate: Certificate; readonly issuer: TrustedIssuer }> = () => [];
  #onChange: () => void = () => undefined;

  private constructor(followed: ReadonlyMap<string, FollowedAnchor>, options: TrustAnchorsOptions) {
    this.#followed = followed;
    this.#options = options;
  }

  /**
   * From files and what was kept of earlier looks; nothing is fetched yet.
   * @throws SallyportError `ERR_CONFIG_INVALID`
   */
  static async open({ trust, directory }: Pick<Config, 'trust' | 'directory'>, options: TrustAnchorsOptions): Promise<TrustAnchors> {
    const { index, clock, randomness, log, record, fetch = fetchDocument } = options;
    const opened: { self: TrustAnchors | undefined } = { self: undefined };
    const followed = await Promise.all([...trust].map(async ([name, config]) => {
      const anchor = await FollowedAnchor.open({ name, config, directory }, {
        index, clock, randomness, fetch,
        inUse: () => opened.self?.inUseOf(name) ?? [],
        onAnchor: () => opened.self?.changed(name),
        onCrl: (from, { issuer, crlNumber, deltaNumber, thisUpdate, nextUpdate, entries }) => {
          const facts = { trust: name, from, ...(crlNumber === undefined ? {} : { crlNumber: crlNumber.toString() }), ...(deltaNumber === undefined ? {} : { deltaNumber: deltaNumber.toString() }), thisUpdate: thisUpdate.toISOString(), nextUpdate: nextUpdate?.toISOString() ?? null, entries };
          log.info({ ...facts, issuer: formatName(issuer.subject) }, 'CRL of another authority taken into use');
          record({ action: 'trust.refreshed', outcome: 'done', time: clock.now(), actor: 'gateway', issuer: issuer.spkiHash, detail: facts });
        },
        onProblem: (error) => log.warn({ error, code: codeOf(error), trust: name }, 'what another authority publishes could not be renewed: the last good stays in use'),
      });
      return [name, anchor] as const;
    }));
    opened.self = new TrustAnchors(new Map(followed), options);
    return opened.self;
  }

  get anchors(): readonly TrustAnchor[] {
    return [...this.#followed.values()].map(({ anchor }) => anchor);
  }

  get state(): readonly FollowedAnchorState[] {
    return [...this.#followed.values()].map(({ state }) => state);
  }

  /** For `/readyz`. */
  get standing(): 'absent' | 'stale' | undefined {
    const now = this.#options.clock.now().getTime();
    return this.state.flatMap((state) => gapsOf(state, now))[0]?.standing;
  }

  /** `onChange`: other certificates are believed in from now on. */
  start({ inUse, onChange }: { readonly inUse: () => Iterable<{ readonly certificate: Certificate; readonly issuer: TrustedIssuer }>; readonly onChange: () => void }): void {
    this.#inUse = inUse;
    this.#onChange = onChange;
    for (const anchor of this.#followed.values()) {
      anchor.start();
      const { certificates, published } = anchor.files;
      if (certificates.length > 0) this.#stops.push(watchFiles(certificates, () => void anchor.reload()));
      if (published.length > 0) this.#stops.push(watchFiles(published, () => void anchor.readAgain()));
    }
    if (this.#followed.size === 0) return;
    const timer = setInterval(() => { this.#lookAfter(); }, LOOK_AFTER_MS).unref();
    this.#stops.push(() => { clearInterval(timer); });
  }

  /** One look at everything of one anchor, or of all. Answers with what went wrong, by name. */
  async refresh(name?: string): Promise<ReadonlyMap<string, readonly unknown[]>> {
    const chosen = [...this.#followed].filter(([each]) => name === undefined || each === name);
    const results = await Promise.all(chosen.map(async ([each, anchor]) => [each, await anchor.refresh()] as const));
    this.#lookAfter();
    return new Map(results);
  }

  /** For `PeerChecks.askStatus`. */
  ask(certificate: Certificate, issuer: TrustedIssuer): Promise<void> | undefined {
    const { anchor } = issuer;
    return anchor === undefined ? undefined : this.#followed.get(anchor.name)?.ask(askedAbout(certificate, issuer));
  }

  /** For `PeerChecks.onBorrowedTime`. */
  borrowed(certificate: Certificate, { anchor }: TrustedIssuer): void {
    this.#options.log.warn({ trust: anchor?.name, subject: formatName(certificate.subject), serial: certificate.serial }, 'certificate let in although its revocation status has run out: dangerouslyAcceptStaleFor');
  }

  inUseOf(name: string): readonly AskedAbout[] {
    return [...this.#inUse()].flatMap(({ certificate, issuer }) => (issuer.anchor?.name === name ? askedAbout(certificate, issuer) : []));
  }

  changed(name: string): void {
    const { clock, log, record } = this.#options;
    const anchor = this.#followed.get(name)?.anchor;
    const roots = (anchor?.roots ?? []).map(({ thumbprint }) => thumbprint);
    log.info({ trust: name, roots }, 'certificates of another authority taken into use');
    record({ action: 'trust.changed', outcome: 'done', time: clock.now(), actor: 'gateway', detail: { trust: name, roots } });
    if (roots.length === 0) log.error({ trust: name }, 'another authority has withdrawn all its roots: nobody of it is let in');
    this.#onChange();
  }

  close(): void {
    for (const stop of this.#stops) stop();
    for (const anchor of this.#followed.values()) anchor.close();
  }

  /** Once for each list: late is a warning, gone is an error. */
  #lookAfter(): void {
    const { log } = this.#options;
    for (const { name, crls } of this.state) {
      for (const { from, crl } of crls) {
        const standing = crl === undefined ? 'absent' : crl.lifeSpent >= 1 ? 'stale' : crl.lifeSpent >= WARN_FROM ? 'late' : 'fresh';
        const key = `${name} ${from}`;
        const note = `${standing} ${crl?.thisUpdate.toISOString() ?? ''}`;
        if (this.#warned.get(key) === note) continue;
        this.#warned.set(key, note);
        const facts = { trust: name, from, crlNumber: crl?.crlNumber?.toString(), nextUpdate: crl?.nextUpdate?.toISOString() };
        if (standing === 'late') log.warn(facts, 'three quarters of the life of a CRL are over and no newer one could be had');
        if (standing === 'stale' || standing === 'absent') log.error(facts, 'there is no fresh CRL of another authority: its certificates are refused');
      }
    }
  }
}

/** The certificate and the CAs above it that nobody pinned. */
const askedAbout = (certificate: Certificate, issuer: TrustedIssuer): readonly AskedAbout[] => {
  const path = [issuer.certificate, ...issuer.above, issuer.root];
  const unpinned = issuer.certified.filter((each) => issuer.anchor?.vouchesFor(each.certificate) !== true);
  return [{ certificate, issuer: issuer.certificate }, ...unpinned.flatMap((each) => path.filter(({ spkiHash }) => spkiHash === each.issuerId).slice(0, 1).map((signer) => ({ certificate: each.certificate, issuer: signer })))];
};
