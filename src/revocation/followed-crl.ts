/**
 * The CRL of somebody else's CA, looked up again and again: at half of its life, then ever more
 * often, and at growing distances after failures. What was good stays until it ends by itself, over
 * a restart too.
 */
import type { Clock, Randomness } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { CrlSource } from './crl-source.ts';
import type { CrlSourceState } from './crl-source.ts';
import type { FetchDocument } from './fetch-document.ts';
import { Looks } from './looks.ts';
import type { LooksState } from './looks.ts';
import { PublishedDocument } from './published-document.ts';
import type { Sighting } from './published-document.ts';
import type { RevocationIndex } from './revocation-index.ts';

export interface FollowedCrlOptions {
  /** Absolute file, or URL. */
  readonly from: string;
  readonly delta?: string | undefined;
  /** CAs of which one must have signed it. */
  readonly issuers: readonly Certificate[];
  /** Path of the last good copy. */
  readonly kept: string;
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly fetch: FetchDocument;
  readonly refreshMs: number;
  readonly maxAgeMs?: number | undefined;
  readonly graceMs?: number | undefined;
  /** A new one came into use. */
  readonly onTaken: (state: CrlSourceState) => void;
  /** It could not be had, or not be used. */
  readonly onProblem: (error: unknown) => void;
}

export interface FollowedCrlState extends LooksState {
  readonly from: string;
  readonly delta: string | undefined;
  readonly crl: CrlSourceState | undefined;
  /** Unix milliseconds at which it was last found to be current. */
  readonly checkedAt: number | undefined;
}

/** Some 1,200,000 entries. */
const MAX_BYTES = 64 * 1024 * 1024;
const MEDIA_TYPE = 'application/pkix-crl, application/octet-stream;q=0.8, */*;q=0.1';

export class FollowedCrl {
  readonly #options: FollowedCrlOptions;
  readonly #source: CrlSource;
  readonly #complete: PublishedDocument;
  readonly #delta: PublishedDocument | undefined;
  readonly #looks: Looks;

  constructor(options: FollowedCrlOptions) {
    const { from, delta, issuers, kept, index, clock, randomness, fetch, refreshMs, maxAgeMs, graceMs } = options;
    this.#options = options;
    this.#source = new CrlSource({ from, issuer: issuers, index, clock, maxAgeMs, graceMs, part: from, stale: 'accepted' });
    const document = { accept: MEDIA_TYPE, maxBytes: MAX_BYTES, clock, fetch };
    this.#complete = new PublishedDocument({ ...document, from, kept });
    this.#delta = delta === undefined ? undefined : new PublishedDocument({ ...document, from: delta, kept: `${kept}.delta` });
    this.#looks = new Looks({ clock, randomness, refreshMs, look: () => this.#look(), life: () => this.#life(), onProblem: options.onProblem });
  }

  get state(): FollowedCrlState {
    return { ...this.#looks.state, from: this.#options.from, delta: this.#options.delta, crl: this.#source.state(), checkedAt: this.#complete.checkedAt };
  }

  /** Takes the last good copy into use, if there is one. Never rejects: without one the status is unknown. */
  async load(): Promise<void> {
    try {
      const before = [this.#complete.digest, this.#delta?.digest];
      const bytes = await this.#complete.kept();
      await this.#delta?.kept();
      const same = [this.#complete.digest, this.#delta?.digest].every((digest, index) => digest === before[index]);
      if (bytes !== undefined && !same) await this.#take(bytes, await this.#delta?.kept());
    } catch (error) {
      this.#options.onProblem(error);
    }
  }

  /** Looks now and goes on looking. */
  start(): void {
    this.#looks.start();
  }

  /** One look, now. @throws SallyportError `ERR_TRUST_FETCH`, CaError `ERR_CRL_*` */
  refresh(): Promise<void> {
    return this.#looks.now();
  }

  close(): void {
    this.#looks.close();
    this.#source.close();
  }

  async #look(): Promise<void> {
    const complete = await this.#complete.look();
    const delta = await this.#lookAtDelta();
    // What was kept but could not be used then, as with a wrong clock, is tried again.
    if (complete === 'unchanged' && delta === undefined && this.#source.state() !== undefined) return;
    const bytes = complete === 'unchanged' ? await this.#complete.kept() : complete.bytes;
    if (bytes === undefined) return;
    const merged = delta?.bytes ?? (await this.#delta?.kept());
    let usedDelta = merged !== undefined;
    try {
      await this.#take(bytes, merged);
    } catch (error) {
      if (merged === undefined) throw error;
      // A delta that does not fit takes nothing away from the complete one.
      usedDelta = false;
      await this.#take(bytes, undefined);
      this.#options.onProblem(error);
    }
    if (complete !== 'unchanged') await complete.keep();
    if (usedDelta) await delta?.keep();
  }

  async #lookAtDelta(): Promise<Sighting | undefined> {
    try {
      const found = await this.#delta?.look();
      return found === 'unchanged' ? undefined : found;
    } catch (error) {
      this.#options.onProblem(error);
      return undefined;
    }
  }

  async #take(bytes: Uint8Array, delta: Uint8Array | undefined): Promise<void> {
    if ((await this.#source.take(bytes, { delta })) === 'unchanged') return;
    const state = this.#source.state();
    if (state !== undefined) this.#options.onTaken(state);
  }

  #life(): { readonly from: number; readonly until: number } | undefined {
    const state = this.#source.state();
    return state === undefined || !Number.isFinite(state.until) ? undefined : { from: state.thisUpdate.getTime(), until: state.until };
  }
}
