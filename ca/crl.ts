/** Publishes the CRLs of one issuer: built from the store, checked, stored, written to files. */
import { crlPublished, crlWithdrawn } from './events.ts';
import { scopeName, scopesOf, endingsOf, partitionOf, wholeScope } from './crl-scope.ts';
import type { BuiltCrl, CrlPlan, GoneEntry } from './crl-build.ts';
import { CrlFiles } from './crl-files.ts';
import { pointsOf } from './crl-series.ts';
import type { IssuerSeries } from './crl-series.ts';
import { buildCrls } from './crl-thread.ts';
import { CaError } from './errors.ts';
import type { Issuer } from './issuer.ts';
import type { CaStore, Clock, CrlPublication, CrlRecord, CrlScope, CrlState, SerialHex } from './ports.ts';
import { signatureAlgorithmFor } from './x509/algorithm.ts';

export interface CrlPublisherOptions {
  readonly issuer: Issuer;
  readonly series: IssuerSeries;
  readonly store: CaStore;
  readonly clock: Clock;
  readonly sleep: (ms: number) => Promise<void>;
  /** nextUpdate - thisUpdate; rebuilt at half of it. */
  readonly lifetimeSeconds: number;
  /** Of delta CRLs; undefined when there are none. */
  readonly deltaLifetimeSeconds: number | undefined;
  /** Address of `/crl/`, which delta CRLs need: the complete ones say where they are. */
  readonly publishedUnder: string | undefined;
  /** Directory of DER files kept equal to the stored CRLs. */
  readonly directory: string | undefined;
}

/**
 * What is to be published besides what is due. `all`: everything again. Otherwise what says something
 * new, looked for among the partitions of these serials, or everywhere.
 */
export type CrlDemand = 'all' | 'anything' | readonly SerialHex[];

export interface PublishOptions {
  readonly demand?: CrlDemand;
  readonly actor?: string | undefined;
}

/** A clock this far behind the last CRL is wrong, not merely in the same second. */
const clockToleranceMs = 60_000;

interface Live {
  readonly scope: CrlScope;
  readonly points: readonly string[];
}

export class CrlPublisher {
  readonly #options: CrlPublisherOptions;
  readonly #files: CrlFiles | undefined;
  #running: Promise<readonly CrlRecord[]> | undefined;
  #next: { demand: CrlDemand; readonly actor: string | undefined; readonly done: Promise<readonly CrlRecord[]> } | undefined;
  /** What was last read for others, by scope and kind. */
  readonly #shelf = new Map<string, { readonly crlNumber: bigint; readonly record: Promise<CrlRecord | undefined> }>();

  constructor(options: CrlPublisherOptions) {
    this.#options = options;
    this.#files = options.directory === undefined ? undefined : new CrlFiles(options.directory, options.issuer.name);
  }

  /** One build at a time; whoever asks while one runs gets the next, which has seen every revocation so far. Answers with the complete CRLs that were published. */
  publish({ demand = 'all', actor }: PublishOptions = {}): Promise<readonly CrlRecord[]> {
    if (this.#running === undefined) {
      this.#running = this.#publishOnce(demand, actor).finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    if (this.#next === undefined) {
      const done = this.#running
        .catch(() => undefined)
        .then(() => {
          const wanted = this.#next?.demand ?? 'all';
          this.#next = undefined;
          return this.publish({ demand: wanted, actor });
        });
      this.#next = { demand, actor, done };
    } else this.#next.demand = bothOf(this.#next.demand, demand);
    return this.#next.done;
  }

  /** The newest, whichever process published it; undefined when there is none. */
  async latest({ scope = wholeScope, kind = 'complete' }: { readonly scope?: CrlScope; readonly kind?: 'complete' | 'delta' } = {}): Promise<CrlRecord | undefined> {
    const { store, issuer } = this.#options;
    const [state] = await store.crlStates(issuer.id, scope);
    if (state === undefined) return undefined;
    const key = `${scopeName(scope)} ${kind}`;
    const shelved = this.#shelf.get(key);
    if (shelved?.crlNumber === state.crlNumber) return shelved.record;
    const record = store.latestCrl(issuer.id, { scope, kind });
    this.#shelf.set(key, { crlNumber: state.crlNumber, record });
    record.catch(() => this.#shelf.delete(key));
    return record;
  }

  /** When the next CRL is due: at half-life of the present one, at once without one. */
  async dueAt(): Promise<Date> {
    const states = await this.#states();
    const due = (await this.#live()).map(({ scope }) => this.#dueAt(states.get(scopeName(scope))));
    return new Date(Math.min(...due));
  }

  /** Makes files equal to the newest stored CRLs, also when another process publishes at the same time. */
  async syncFiles(): Promise<void> {
    const files = this.#files;
    if (files === undefined) return;
    for (const { scope, delta } of (await this.#states()).values()) {
      await this.#syncFile(files, scope, 'complete');
      if (delta === undefined) await files.remove(scope, 'delta');
      else await this.#syncFile(files, scope, 'delta');
    }
  }

  /** Forgets CRLs that no certificate names any more. */
  async withdraw(): Promise<void> {
    const { store, issuer, clock } = this.#options;
    const live = new Set((await this.#live()).map(({ scope }) => scopeName(scope)));
    for (const state of (await this.#states()).values()) {
      if (live.has(scopeName(state.scope))) continue;
      // Files first: once the store has forgotten it nobody would look for them again.
      await this.#files?.remove(state.scope, 'complete');
      await this.#files?.remove(state.scope, 'delta');
      await store.dropCrl(issuer.id, state.scope, crlWithdrawn(state, issuer.name, { time: clock.now(), actor: 'ca' }));
    }
  }

  async #publishOnce(demand: CrlDemand, actor = 'ca'): Promise<readonly CrlRecord[]> {
    const published: CrlRecord[] = [];
    let wanted = await this.#wanted(demand);
    for (let attempt = 1; wanted.length > 0; attempt++) {
      const built = await this.#build(wanted);
      const outcomes = await Promise.allSettled(built.map((publication) => this.#save(publication, actor)));
      published.push(...built.filter((_, at) => outcomes[at]?.status === 'fulfilled'));
      const failed = outcomes.flatMap((outcome, at) => (outcome.status === 'rejected' ? [{ error: outcome.reason as unknown, scope: built[at]?.scope ?? wholeScope }] : []));
      // Another process was faster; its CRL may not have seen what ours must list, so build again.
      const hopeless = failed.find(({ error }) => attempt === 5 || !(error instanceof CaError && error.code === 'ERR_CRL_STALE'));
      if (hopeless !== undefined) throw hopeless.error;
      wanted = wanted.filter(({ live }) => failed.some(({ scope }) => scopeName(scope) === scopeName(live.scope))).map(({ live }) => ({ live, when: 'always' }));
    }
    return published;
  }

  async #save(publication: CrlPublication, actor: string): Promise<void> {
    const { store, issuer, clock } = this.#options;
    const saved = store.saveCrl(publication, crlPublished(publication, issuer.name, { time: clock.now(), actor }));
    if (this.#files === undefined) return saved;
    const { scope, delta, crlNumber } = publication;
    // Written and read back while the store writes; it takes the place of the file before only once the store has this CRL and no newer one.
    const staged = this.#files.write(scope, 'complete', publication, async () => {
      await saved;
      const [state] = await store.crlStates(issuer.id, scope);
      if (state?.crlNumber !== crlNumber) throw new CaError('ERR_CRL_STALE', 'another process published a newer CRL meanwhile');
    });
    const [outcome] = await Promise.allSettled([saved, staged]);
    if (outcome.status === 'rejected') throw outcome.reason;
    // Nothing to do but after a failure, which it meets again or makes good.
    await this.#syncFile(this.#files, scope, 'complete', publication);
    if (delta === undefined) await this.#files.remove(scope, 'delta');
    else await this.#syncFile(this.#files, scope, 'delta', { ...publication, der: delta.der });
  }

  /** `own` is what was just published here; another process may have published since. */
  async #syncFile(files: CrlFiles, scope: CrlScope, kind: 'complete' | 'delta', own?: CrlRecord): Promise<void> {
    const { store, issuer } = this.#options;
    for (;;) {
      const [state] = await store.crlStates(issuer.id, scope);
      if (state === undefined || (await files.numberOf(scope, kind)) === state.crlNumber) return;
      const record = own?.crlNumber === state.crlNumber ? own : await store.latestCrl(issuer.id, { scope, kind });
      if (record === undefined) return;
      await files.write(scope, kind, record);
    }
  }

  async #wanted(demand: CrlDemand): Promise<readonly Wanted[]> {
    const states = await this.#states();
    const now = this.#options.clock.now().getTime();
    return (await this.#live()).flatMap((live): readonly Wanted[] => {
      if (demand === 'all' || this.#dueAt(states.get(scopeName(live.scope))) <= now) return [{ live, when: 'always' }];
      const touched = demand === 'anything' || demand.some((serial) => partitionOf(serial, live.scope.partitions) === live.scope.partition);
      return touched ? [{ live, when: 'changed' }] : [];
    });
  }

  async #build(wanted: readonly Wanted[]): Promise<readonly CrlPublication[]> {
    const { issuer, store } = this.#options;
    const { signer } = issuer;
    if (signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of the ${issuer.name} CA is not here; publish its CRL where the key is kept`);
    const states = await this.#states();
    const stateOf = ({ live }: Wanted): CrlState | undefined => states.get(scopeName(live.scope));
    const thisUpdate = await this.#nextThisUpdate(wanted.flatMap((each) => stateOf(each) ?? []));
    const plans: CrlPlan[] = [];
    for (const each of wanted) plans.push(await this.#plan(each, stateOf(each), thisUpdate));
    const scopes = wanted.map(({ live }) => live.scope);
    const endings = scopes.every(({ partitions }) => partitions === scopes[0]?.partitions) ? endingsOf(scopes) : [];
    const built = await buildCrls({
      issuer: issuer.der,
      signatureAlgorithm: signatureAlgorithmFor(signer.algorithm),
      plans,
      signer,
      pages: store.revokedText(issuer.id, { endings }),
      gone: (entries) => this.#checkGone(entries),
    });
    return built.map((crl) => publicationOf(issuer.id, crl, plans));
  }

  async #plan({ live: { scope, points }, when }: Wanted, state: CrlState | undefined, thisUpdate: Date): Promise<CrlPlan> {
    const { issuer, store, lifetimeSeconds, deltaLifetimeSeconds } = this.#options;
    const octets = async (kind: 'complete' | 'delta' | 'base' | 'nextBase'): Promise<Uint8Array | undefined> => (state === undefined ? undefined : (await store.latestCrl(issuer.id, { scope, kind }))?.der);
    const after = (seconds: number): Date => new Date(thisUpdate.getTime() + seconds * 1_000);
    // RFC 5280 §5.2.3: never a number twice, not even after the store went back to an older backup.
    const taken = [state?.crlNumber ?? 0n, (await this.#files?.numberOf(scope)) ?? 0n, await store.crlNumberFloor()];
    // Every complete CRL that is still fresh is then as new as the one that deltas start from, so that it can be brought up to date.
    const moved = state?.delta !== undefined && state.delta.nextBaseThisUpdate.getTime() + lifetimeSeconds * 1_000 <= thisUpdate.getTime();
    const last = state === undefined ? undefined : state.thisUpdate.getTime() / 1_000;
    return {
      scope,
      points: pointsOf(points, scope),
      when,
      thisUpdate,
      nextUpdate: after(lifetimeSeconds),
      crlNumber: taken.reduce((most, number) => (number > most ? number : most)) + 1n,
      previous: await octets('complete'),
      // RFC 5280 §3.3: an entry stays until a regular CRL was issued after the certificate's end; half a lifetime is one regular step.
      leftOut: last === undefined ? undefined : { endedBy: last - lifetimeSeconds / 2, revokedBefore: last },
      delta:
        deltaLifetimeSeconds === undefined
          ? undefined
          : {
              base: state?.delta === undefined ? undefined : await octets(moved ? 'nextBase' : 'base'),
              previous: state?.delta === undefined ? undefined : await octets('delta'),
              nextUpdate: after(Math.min(deltaLifetimeSeconds, lifetimeSeconds)),
              bases: state?.delta === undefined ? 'first' : moved ? 'moved' : 'kept',
              points: this.#deltaPoints(scope, points),
            },
    };
  }

  #deltaPoints(scope: CrlScope, points: readonly string[]): readonly string[] {
    const { issuer, publishedUnder } = this.#options;
    return scope.partitions > 1 ? pointsOf(points, scope, 'delta') : publishedUnder === undefined ? [] : [`${publishedUnder}/crl/${issuer.name}.delta.crl`];
  }

  /** A hold may end, on record: a hold that the store has merely forgotten may not. */
  async #checkGone(gone: readonly GoneEntry[]): Promise<void> {
    const { issuer, store } = this.#options;
    for (const { serial, reason, revokedAt } of gone) {
      const [record] = reason === 'certificateHold' ? await store.findCertificates({ issuerId: issuer.id, serial, limit: 1 }) : [];
      if (record?.releasedAt === undefined || record.releasedAt.getTime() < revokedAt * 1_000) {
        throw new CaError('ERR_CRL_INVALID', 'the store no longer knows a revocation that the last CRL lists; restore the newest backup before publishing', { facts: { serial } });
      }
    }
  }

  /** Strictly later than the last by at least a second, because verifiers keep the first of two CRLs of one second. */
  async #nextThisUpdate(before: readonly CrlState[]): Promise<Date> {
    const now = () => Math.floor(this.#options.clock.now().getTime() / 1_000) * 1_000;
    const last = Math.max(...before.map(({ thisUpdate }) => thisUpdate.getTime()));
    const earliest = last + 1_000;
    if (now() >= earliest) return new Date(now());
    const ahead = earliest - this.#options.clock.now().getTime();
    if (ahead > clockToleranceMs) throw new CaError('ERR_CRL_STALE', `the clock is ${Math.round(ahead / 1_000)}s behind the last CRL; set it right`, { facts: { lastThisUpdate: new Date(last).toISOString() } });
    // A thisUpdate in the future would be refused by every verifier.
    await this.#options.sleep(ahead);
    return new Date(Math.max(now(), earliest));
  }

  /** Milliseconds since 1970. */
  #dueAt(state: CrlState | undefined): number {
    const { lifetimeSeconds, deltaLifetimeSeconds } = this.#options;
    if (state === undefined || (deltaLifetimeSeconds === undefined) !== (state.delta === undefined)) return 0;
    const { thisUpdate, nextUpdate, delta } = state;
    const half = (end: Date, seconds: number): number => Math.min(thisUpdate.getTime() + seconds * 500, (thisUpdate.getTime() + end.getTime()) / 2);
    return Math.min(half(nextUpdate, lifetimeSeconds), delta === undefined || deltaLifetimeSeconds === undefined ? Infinity : half(delta.nextUpdate, deltaLifetimeSeconds));
  }

  async #live(): Promise<readonly Live[]> {
    return (await this.#options.series.live()).flatMap(({ partitions, points }) => scopesOf(partitions).map((scope) => ({ scope, points })));
  }

  async #states(): Promise<ReadonlyMap<string, CrlState>> {
    return new Map((await this.#options.store.crlStates(this.#options.issuer.id)).map((state) => [scopeName(state.scope), state]));
  }
}

interface Wanted {
  readonly live: Live;
  readonly when: CrlPlan['when'];
}

export const bothOf = (a: CrlDemand, b: CrlDemand): CrlDemand => {
  if (a === 'all' || b === 'all') return 'all';
  // So many are in nearly every partition.
  if (a === 'anything' || b === 'anything' || a.length + b.length > 10_000) return 'anything';
  return [...a, ...b];
};

const publicationOf = (issuerId: string, { scope, entries, der, delta }: BuiltCrl, plans: readonly CrlPlan[]): CrlPublication => {
  const plan = plans.find((each) => each.scope.partitions === scope.partitions && each.scope.partition === scope.partition);
  if (plan === undefined) throw new TypeError('a CRL was built that nobody asked for');
  const { crlNumber, thisUpdate, nextUpdate } = plan;
  const complete: CrlRecord = { issuerId, scope, crlNumber, thisUpdate, nextUpdate, entries, der };
  return delta === undefined || plan.delta === undefined ? complete : { ...complete, delta: { ...delta, nextUpdate: plan.delta.nextUpdate, bases: plan.delta.bases } };
};
