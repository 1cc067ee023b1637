/** The trust bundle of a SPIFFE trust domain, looked up again as it asks; an older one is refused, the last good one kept. */
import { createHash } from 'node:crypto';
import type { RequestOptions } from 'node:https';
import type { Clock, Randomness } from '../../ca/ports.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { SallyportError } from '../errors.ts';
import { MAX_BUNDLE_OCTETS, parseSpiffeBundle } from '../identity/spiffe-bundle.ts';
import type { SpiffeBundle } from '../identity/spiffe-bundle.ts';
import type { FetchDocument, FetchRequest } from '../revocation/fetch-document.ts';
import { Looks } from '../revocation/looks.ts';
import type { LooksState } from '../revocation/looks.ts';
import { PublishedDocument } from '../revocation/published-document.ts';

export interface FollowedBundleOptions {
  readonly trustDomain: string;
  /** Absolute file, or https URL. */
  readonly from: string;
  readonly kept: string;
  /** Of the server: a SPIFFE ID that the bundle itself vouches for, or CAs in PEM in place of those Node.js trusts. */
  readonly server: { readonly endpointId: string } | { readonly ca: string | undefined };
  /** The bundle to begin with, where there is none yet. */
  readonly bootstrap?: Uint8Array | undefined;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly fetch: FetchDocument;
  readonly refreshMs: number;
  readonly onTaken: (bundle: SpiffeBundle) => void;
  readonly onProblem: (error: unknown) => void;
}

export interface FollowedBundleState extends LooksState {
  readonly from: string;
  readonly sequence: bigint | undefined;
  readonly roots: number;
  readonly checkedAt: Date | undefined;
}

export class FollowedBundle {
  readonly #options: FollowedBundleOptions;
  readonly #document: PublishedDocument;
  readonly #looks: Looks;
  #bundle: SpiffeBundle | undefined;

  constructor(options: FollowedBundleOptions) {
    this.#options = options;
    const { from, kept, clock, randomness, fetch, refreshMs, onProblem } = options;
    this.#document = new PublishedDocument({ from, kept, clock, fetch, accept: 'application/json', maxBytes: MAX_BUNDLE_OCTETS, tls: () => this.#tls() });
    this.#looks = new Looks({
      clock, randomness, onProblem, life: () => undefined,
      // SPIFFE Trust Domain and Bundle §4.1.3: the hint bounds how late a change is seen.
      refreshMs: () => Math.min(refreshMs, this.#bundle?.refreshHintMs ?? refreshMs),
      look: () => this.#look(),
    });
  }

  get bundle(): SpiffeBundle | undefined {
    return this.#bundle;
  }

  get state(): FollowedBundleState {
    const { checkedAt } = this.#document;
    return { ...this.#looks.state, from: this.#options.from, sequence: this.#bundle?.sequence, roots: this.#bundle?.roots.length ?? 0, checkedAt: checkedAt === undefined ? undefined : new Date(checkedAt) };
  }

  /** The last good copy, else the one to begin with. Never rejects. */
  async load(): Promise<void> {
    try {
      const bytes = (await this.#document.kept()) ?? this.#options.bootstrap;
      if (bytes !== undefined) this.#take(parseSpiffeBundle(bytes, this.#options));
    } catch (error) {
      this.#options.onProblem(error);
    }
  }

  start(): void {
    this.#looks.start();
  }

  /** @throws SallyportError `ERR_TRUST_FETCH`, `ERR_TRUST_BUNDLE` */
  refresh(): Promise<void> {
    return this.#looks.now();
  }

  close(): void {
    this.#looks.close();
  }

  async #look(): Promise<void> {
    const found = await this.#document.look();
    if (found === 'unchanged') return;
    const bundle = parseSpiffeBundle(found.bytes, this.#options);
    this.#take(bundle);
    await found.keep();
  }

  #take(bundle: SpiffeBundle): void {
    const inUse = this.#bundle;
    if (inUse?.sequence !== undefined && (bundle.sequence ?? -1n) < inUse.sequence) {
      throw new SallyportError('ERR_TRUST_BUNDLE', 'the SPIFFE trust bundle is older than the one in use, which stays', {
        facts: { sequence: bundle.sequence?.toString(), inUse: inUse.sequence.toString() },
      });
    }
    this.#bundle = bundle;
    if (inUse === undefined || fingerprintOf(inUse) !== fingerprintOf(bundle)) this.#options.onTaken(bundle);
  }

  #tls(): FetchRequest['tls'] {
    const { server } = this.#options;
    if (!('endpointId' in server)) return server.ca === undefined ? undefined : { ca: server.ca };
    const checkServerIdentity: RequestOptions['checkServerIdentity'] = (_host, certificate) => {
      // X.509-SVID §2: one URI. Node spells alternative names as OpenSSL prints them.
      const names = (certificate.subjectaltname ?? '').split(', ').filter((name) => name.startsWith('URI:'));
      return names.length === 1 && names[0] === `URI:${server.endpointId}` ? undefined : new Error(`the server is not ${server.endpointId}`);
    };
    return { ca: (this.#bundle?.roots ?? []).map(({ der }) => encodePem('CERTIFICATE', der)), checkServerIdentity };
  }
}

const fingerprintOf = ({ roots }: SpiffeBundle): string => createHash('sha256').update(roots.map(({ thumbprint }) => thumbprint).toSorted().join()).digest('hex');
