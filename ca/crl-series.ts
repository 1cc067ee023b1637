/**
 * Which partitioning of an issuer's CRLs certificates name, fixed when each was issued. A change of
 * configuration begins another series; the ones before go on while a certificate may name them.
 */
import { checkPartitions, crlPath, partitionOf, scopesOf } from './crl-scope.ts';
import { CaError } from './errors.ts';
import type { Issuer } from './issuer.ts';
import type { CaStore, Clock, CrlScope, CrlSeries, CrlState, SerialHex } from './ports.ts';

export interface IssuerSeriesOptions {
  readonly issuer: Pick<Issuer, 'id' | 'name' | 'role'>;
  readonly store: Pick<CaStore, 'crlSeries' | 'extendCrlSeries'>;
  readonly clock: Clock;
  /** Of what is issued from now on. */
  readonly partitions: number;
  /** What comes before `/crl/`; undefined where certificates name no place. */
  readonly publishedUnder: string | undefined;
}

/** Written ahead, so that few issuances have to. */
const aheadMs = 7 * 86_400_000;

export class IssuerSeries {
  readonly #options: IssuerSeriesOptions;
  readonly #current: Pick<CrlSeries, 'partitions' | 'point'>;
  /** Of the series of this process, by partitions: until when certificates of it may be valid, as the store knows it. */
  readonly #known = new Map<number, Promise<number>>();

  constructor(options: IssuerSeriesOptions) {
    const { issuer, publishedUnder } = options;
    this.#options = options;
    // A root issues a handful of CAs.
    const partitions = issuer.role === 'root' ? 1 : checkPartitions(options.partitions);
    if (partitions > 1 && publishedUnder === undefined) {
      throw new CaError('ERR_CA_LIMIT', 'CRLs are partitioned by the address that certificates name; set publicUrl, or 1 partition', { facts: { partitions } });
    }
    this.#current = { partitions, point: partitions === 1 ? '' : `${publishedUnder ?? ''}/crl/${issuer.name}/${partitions}` };
  }

  /** Of what is issued now. */
  get partitions(): number {
    return this.#current.partitions;
  }

  /** Path of the CRL of a serial, below `/crl/`. */
  pathOf(serial: SerialHex): string {
    const { partitions } = this.#current;
    return crlPath(this.#options.issuer.name, { partitions, partition: partitionOf(serial, partitions) });
  }

  /** On record before there is a certificate that ends at `notAfter`. Without a place in it, only the CRL of everything speaks about it. */
  async cover(notAfter: Date, place: 'named' | 'unnamed'): Promise<void> {
    const series = place === 'named' ? this.#current : { partitions: 1, point: '' };
    const end = notAfter.getTime();
    for (;;) {
      const known = this.#known.get(series.partitions);
      if (known !== undefined && (await known) >= end) return;
      // Of several that find it too short at once, one lengthens it.
      if (known === this.#known.get(series.partitions)) {
        const next = known === undefined ? this.#recorded(series, end) : this.#lengthen(series, end);
        this.#known.set(series.partitions, next);
        next.catch(() => this.#known.delete(series.partitions));
      }
    }
  }

  /** Partitionings to be published: the current one, and those that a certificate may still name, each with the places it is named by. */
  async live(): Promise<readonly { readonly partitions: number; readonly points: readonly string[] }[]> {
    const { store, issuer, clock } = this.#options;
    const recorded = (await store.crlSeries(issuer.id)).filter(({ until }) => until.getTime() + 1_000 > clock.now().getTime());
    const points = new Map<number, Set<string>>();
    for (const { partitions, point } of [this.#current, ...recorded]) points.set(partitions, (points.get(partitions) ?? new Set()).add(point));
    return [...points].map(([partitions, named]) => ({ partitions, points: partitions === 1 ? [] : [...named].toSorted() }));
  }

  async #recorded({ partitions, point }: Pick<CrlSeries, 'partitions' | 'point'>, end: number): Promise<number> {
    const { store, issuer } = this.#options;
    const recorded = (await store.crlSeries(issuer.id)).find((each) => each.partitions === partitions && each.point === point);
    return recorded !== undefined && recorded.until.getTime() >= end ? recorded.until.getTime() : this.#lengthen({ partitions, point }, end);
  }

  async #lengthen(series: Pick<CrlSeries, 'partitions' | 'point'>, end: number): Promise<number> {
    const { store, issuer } = this.#options;
    const until = end + aheadMs;
    await store.extendCrlSeries({ issuerId: issuer.id, ...series, until: new Date(until) });
    return until;
  }
}

/** Scopes that certificates may name at that moment, as far as it is on record; all in one where nothing is. */
export const namedScopes = (recorded: readonly CrlSeries[], states: readonly CrlState[], now: Date): readonly CrlScope[] => {
  if (recorded.length + states.length === 0) return scopesOf(1);
  const partitions = new Set(recorded.filter(({ until }) => until.getTime() + 1_000 > now.getTime()).map((each) => each.partitions));
  return [...partitions].flatMap(scopesOf);
};

/** Names of one partition in its issuingDistributionPoint. */
export const pointsOf = (points: readonly string[], { partition }: CrlScope, kind: 'complete' | 'delta' = 'complete'): readonly string[] =>
  points.map((point) => `${point}/${partition}${kind === 'delta' ? '.delta.crl' : '.crl'}`);
