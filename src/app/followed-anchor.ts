/** One anchor of `trust:` while a gateway runs: its certificates, what it publishes, and both kept current. */
import { readFile } from 'node:fs/promises';
import type { Clock, Randomness } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { trustDomainOf } from '../config/trust-rules.ts';
import { SallyportError } from '../errors.ts';
import type { CrlSourceState } from '../revocation/crl-source.ts';
import type { FetchDocument } from '../revocation/fetch-document.ts';
import { FollowedCrl } from '../revocation/followed-crl.ts';
import type { FollowedCrlState } from '../revocation/followed-crl.ts';
import { OcspSource } from '../revocation/ocsp-source.ts';
import type { AskedAbout, OcspSourceState } from '../revocation/ocsp-source.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';
import type { TrustAnchor } from '../tls/trust-anchor.ts';
import { FollowedBundle } from './followed-bundle.ts';
import type { FollowedBundleState } from './followed-bundle.ts';
import { anchorOf, certificateFilesOf, certificatesIn, placeIn, readRoots, trustFilesIn } from './trust-files.ts';
import type { TrustFile } from './trust-files.ts';

export interface AnchorWorld {
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly fetch: FetchDocument;
  /** Certificates of this anchor that are connected now. */
  readonly inUse: () => Iterable<AskedAbout>;
  /** Other certificates are believed in from now on. */
  readonly onAnchor: () => void;
  readonly onCrl: (from: string, state: CrlSourceState) => void;
  /** Something could not be had or used; what was good stays. */
  readonly onProblem: (error: unknown) => void;
}

export interface FollowedAnchorState {
  readonly name: string;
  readonly anchor: TrustAnchor;
  readonly trustDomain: string | undefined;
  readonly bundle: FollowedBundleState | undefined;
  readonly crls: readonly FollowedCrlState[];
  readonly ocsp: OcspSourceState | undefined;
  /** How long past its end a status counts. */
  readonly graceMs: number;
}

export class FollowedAnchor {
  readonly name: string;
  readonly #file: TrustFile;
  readonly #world: AnchorWorld;
  readonly #ocsp: OcspSource | undefined;
  readonly #bundle: FollowedBundle | undefined;
  #crls: readonly FollowedCrl[] = [];
  #anchor: TrustAnchor;
  #started = false;
  #closed = false;

  private constructor(file: TrustFile, world: AnchorWorld, parts: { readonly bundle: FollowedBundle | undefined; readonly anchor: TrustAnchor; readonly ocsp: OcspSource | undefined }) {
    this.name = file.name;
    this.#file = file;
    this.#world = world;
    this.#bundle = parts.bundle;
    this.#anchor = parts.anchor;
    this.#ocsp = parts.ocsp;
  }

  /**
   * From files and what was kept; nothing is fetched yet.
   * @throws SallyportError `ERR_CONFIG_INVALID`
   */
  static async open(file: TrustFile, world: AnchorWorld): Promise<FollowedAnchor> {
    const opened: { self: FollowedAnchor | undefined } = { self: undefined };
    const bundle = await bundleOf(file, world, () => { void opened.self?.reload(); });
    await bundle?.load();
    const anchor = await anchorOf(file, bundle === undefined ? await readRoots(file) : (bundle.bundle?.roots ?? []));
    const { ocsp, refresh, maxAge, dangerouslyAcceptStaleFor } = file.config;
    const { index, clock, randomness, fetch, inUse, onProblem } = world;
    const responder = ocsp === undefined ? undefined : new OcspSource({ ...ocsp, index, clock, randomness, fetch, refreshMs: refresh, maxAgeMs: maxAge, graceMs: dangerouslyAcceptStaleFor, inUse, onProblem });
    const self = new FollowedAnchor(file, world, { bundle, anchor, ocsp: responder });
    opened.self = self;
    await self.#openCrls();
    return self;
  }

  /** As it is believed in now. */
  get anchor(): TrustAnchor {
    return this.#anchor;
  }

  get state(): FollowedAnchorState {
    return { name: this.name, anchor: this.#anchor, trustDomain: trustDomainOf(this.#file.config), bundle: this.#bundle?.state, crls: this.#crls.map(({ state }) => state), ocsp: this.#ocsp?.state, graceMs: this.#file.config.dangerouslyAcceptStaleFor ?? 0 };
  }

  /** Files whose change makes another anchor, and those that hold what is published or kept of it. */
  get files(): { readonly certificates: readonly string[]; readonly published: readonly string[] } {
    const { config, directory, name } = this.#file;
    const kept = trustFilesIn(directory, name);
    const places = config.crl.flatMap(({ from, delta }) => [placeIn(directory, from), ...(delta === undefined ? [] : [placeIn(directory, delta)]), kept.crl(placeIn(directory, from)), `${kept.crl(placeIn(directory, from))}.delta`]);
    const bundle = config.spiffe === undefined ? [] : [placeIn(directory, config.spiffe.bundle), kept.bundle];
    return { certificates: certificateFilesOf(this.#file), published: [...places, ...bundle].filter((place) => !place.includes('://')) };
  }

  /** Looks at everything now, and goes on looking. */
  start(): void {
    this.#started = true;
    this.#bundle?.start();
    this.#ocsp?.start();
    for (const crl of this.#crls) crl.start();
  }

  /** One look at everything. Answers with what went wrong. */
  async refresh(): Promise<readonly unknown[]> {
    // The bundle first: it may bring the CA that signs a CRL.
    const problems = await settled([this.#bundle]);
    return [...problems, ...(await settled(this.#crls))];
  }

  /** Takes what another process, or a person, has put into the files. */
  async readAgain(): Promise<void> {
    await this.#bundle?.load();
    for (const crl of this.#crls) await crl.load();
    for (const problem of await settled([this.#bundle, ...this.#crls].filter((each) => each !== undefined && !each.state.from.includes('://')))) this.#world.onProblem(problem);
  }

  /** Makes the anchor anew of its files and bundle. What cannot be used leaves it as it is. */
  async reload(): Promise<void> {
    if (this.#closed) return;
    try {
      this.#anchor = await anchorOf(this.#file, this.#bundle === undefined ? await readRoots(this.#file) : (this.#bundle.bundle?.roots ?? []));
      const before = this.#crls;
      await this.#openCrls();
      for (const crl of before) crl.close();
      if (this.#started) for (const crl of this.#crls) crl.start();
      this.#world.onAnchor();
    } catch (error) {
      this.#world.onProblem(error);
    }
  }

  /** Undefined when nobody needs to be asked about the certificate first. Never rejects. */
  ask(about: readonly AskedAbout[]): Promise<void> | undefined {
    const ocsp = this.#ocsp;
    if (ocsp === undefined) return undefined;
    const asked = about.flatMap((each) => ocsp.ask(each) ?? []);
    return asked.length === 0 ? undefined : Promise.all(asked).then(() => undefined);
  }

  close(): void {
    this.#closed = true;
    this.#bundle?.close();
    this.#ocsp?.close();
    for (const crl of this.#crls) crl.close();
  }

  async #openCrls(): Promise<void> {
    const { config, directory, name } = this.#file;
    const { index, clock, randomness, fetch, onCrl, onProblem } = this.#world;
    const kept = trustFilesIn(directory, name);
    // Before its first bundle is had, nobody of a SPIFFE trust domain is let in anyway.
    const followed = config.spiffe !== undefined && this.#anchor.roots.length === 0 ? [] : config.crl;
    this.#crls = await Promise.all(followed.map(async ({ from, delta, issuer }) => {
      const place = placeIn(directory, from);
      const issuers: readonly Certificate[] = issuer === undefined ? this.#anchor.authorities : await certificatesIn(placeIn(directory, issuer), `trust.${name}.crl`);
      if (issuers.length === 0) throw new SallyportError('ERR_CONFIG_INVALID', `nobody is known who could sign the CRL ${from} of trust.${name}: name its CA with issuer`, { facts: { trust: name, from } });
      const crl = new FollowedCrl({
        from: place, delta: delta === undefined ? undefined : placeIn(directory, delta), issuers, kept: kept.crl(place),
        index, clock, randomness, fetch, refreshMs: config.refresh, maxAgeMs: config.maxAge, graceMs: config.dangerouslyAcceptStaleFor,
        onTaken: (state) => onCrl(from, state), onProblem,
      });
      await crl.load();
      return crl;
    }));
  }
}

const bundleOf = async ({ name, config, directory }: TrustFile, world: AnchorWorld, onTaken: () => void): Promise<FollowedBundle | undefined> => {
  const { spiffe, refresh } = config;
  if (spiffe === undefined) return undefined;
  const { clock, randomness, fetch, onProblem } = world;
  const { trustDomain, endpoint, endpointId = '', ca, bootstrap } = spiffe;
  const text = async (file: string, what: string): Promise<Buffer> => {
    try {
      return await readFile(placeIn(directory, file));
    } catch (cause) {
      throw new SallyportError('ERR_CONFIG_INVALID', `${file} of trust.${name}.spiffe.${what} cannot be read: check path, owner and mode`, { facts: { trust: name, file }, cause });
    }
  };
  return new FollowedBundle({
    trustDomain, from: placeIn(directory, spiffe.bundle), kept: trustFilesIn(directory, name).bundle,
    server: endpoint === 'https_spiffe' ? { endpointId } : { ca: ca === undefined ? undefined : (await text(ca, 'ca')).toString('latin1') },
    bootstrap: bootstrap === undefined ? undefined : await text(bootstrap, 'bootstrap'),
    clock, randomness, fetch, refreshMs: refresh, onTaken, onProblem,
  });
};

interface Refreshable {
  refresh(): Promise<void>;
}

const settled = async (all: readonly (Refreshable | undefined)[]): Promise<readonly unknown[]> =>
  (await Promise.allSettled(all.map((each) => each?.refresh()))).flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
