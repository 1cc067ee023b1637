/**
 * From what is revoked to signed CRLs: one pass over the revoked, for any number of partitions at
 * once, each compared with the CRL it is to replace. Asks the world only to sign, and about entries
 * that are gone; so it runs in a thread of its own as well as here.
 */
import { CaError } from './errors.ts';
import { issuerKeyIdentifier } from './issuance.ts';
import type { CrlScope, RevocationReason, SerialHex } from './ports.ts';
import { RevokedText } from './revoked-text.ts';
import { assembleShared, assembleSigned, parseCertificate } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { CrlEntryBuffer, CrlEntryCursor, encodeTbsCrl, parseCrl, readCrlList, verifyCrl } from './x509/crl.ts';
import type { CrlList } from './x509/crl.ts';
import { equalBytes } from './x509/der.ts';

/** What may cross to another thread. */
export interface CrlPlan {
  readonly scope: CrlScope;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly crlNumber: bigint;
  /** Names of the issuingDistributionPoint; none for a CRL of everything. */
  readonly points: readonly string[];
  /** DER of the CRL that is to be replaced. */
  readonly previous: Uint8Array | undefined;
  /** `changed`: only when it says something else than the previous one. */
  readonly when: 'always' | 'changed';
  /** Entries of certificates that ended by then and were revoked before `revokedBefore` are left out. Seconds since 1970. */
  readonly leftOut: { readonly endedBy: number; readonly revokedBefore: number } | undefined;
  readonly delta: DeltaPlan | undefined;
}

export interface DeltaPlan {
  /** DER of the complete CRL to start from; undefined for the first, which starts from the one it comes with. */
  readonly base: Uint8Array | undefined;
  /** DER of the delta CRL that is to be replaced. */
  readonly previous: Uint8Array | undefined;
  readonly nextUpdate: Date;
  readonly bases: 'first' | 'moved' | 'kept';
  /** Where it is found, for freshestCRL. */
  readonly points: readonly string[];
}

export interface BuiltCrl {
  readonly scope: CrlScope;
  readonly entries: number;
  readonly der: Uint8Array;
  readonly delta: { readonly baseCrlNumber: bigint; readonly entries: number; readonly der: Uint8Array } | undefined;
}

/** An entry of the previous CRL that the store has not shown. */
export interface GoneEntry {
  readonly serial: SerialHex;
  readonly reason: RevocationReason | undefined;
  /** Seconds since 1970. */
  readonly revokedAt: number;
}

export interface CrlWorld {
  /** Throws unless each of them may be left out. */
  gone(entries: readonly GoneEntry[]): Promise<void>;
  sign(tbs: Uint8Array): Promise<Uint8Array>;
  /** The finished CRLs go to another thread. */
  readonly shared?: boolean;
}

export interface CrlBuildOptions {
  /** DER of the issuer's certificate. */
  readonly issuer: Uint8Array;
  /** DER AlgorithmIdentifier of the signatures to come. */
  readonly signatureAlgorithm: Uint8Array;
  readonly plans: readonly CrlPlan[];
}

export class CrlBuild {
  readonly #issuer: Certificate;
  readonly #signatureAlgorithm: Uint8Array;
  readonly #drafts: readonly Draft[];
  /** By number of partitions, then by partition. */
  readonly #series = new Map<number, (Draft | undefined)[]>();

  constructor({ issuer, signatureAlgorithm, plans }: CrlBuildOptions) {
    this.#issuer = parseCertificate(issuer);
    this.#signatureAlgorithm = signatureAlgorithm;
    this.#drafts = plans.map((plan) => new Draft(plan));
    for (const draft of this.#drafts) {
      const { partitions, partition } = draft.plan.scope;
      const series = this.#series.get(partitions) ?? Array.from({ length: partitions }, (): Draft | undefined => undefined);
      series[partition] = draft;
      this.#series.set(partitions, series);
    }
  }

  /** Text as `CaStore.revokedText` gives it, page by page in order. */
  add(page: Uint8Array): void {
    for (const text = new RevokedText(page); text.next(); ) {
      for (const [partitions, series] of this.#series) series[text.lowestOctet & (partitions - 1)]?.add(text);
    }
  }

  /** Signs and reads back; those that say nothing new are not in the answer. */
  async finish(world: CrlWorld): Promise<readonly BuiltCrl[]> {
    await world.gone(this.#drafts.flatMap((draft) => draft.finish()));
    const built: BuiltCrl[] = [];
    for (const draft of this.#drafts) if (draft.wanted) built.push(await this.#sign(draft, world));
    return built;
  }

  async #sign(draft: Draft, world: CrlWorld): Promise<BuiltCrl> {
    const { plan, entries } = draft;
    const { scope, thisUpdate, crlNumber, delta } = plan;
    const fields = {
      issuerName: this.#issuer.subjectNameDer,
      signatureAlgorithm: this.#signatureAlgorithm,
      thisUpdate,
      crlNumber,
      authorityKeyIdentifier: issuerKeyIdentifier(this.#issuer),
      // RFC 5280 §5.2.5: critical, and the same in the delta CRL.
      idp: plan.points.length === 0 ? undefined : { uris: plan.points },
    };
    const signed = async (tbs: Uint8Array, count: number): Promise<Uint8Array> => {
      const assemble = world.shared === true ? assembleShared : assembleSigned;
      const der = assemble(tbs, this.#signatureAlgorithm, await world.sign(tbs));
      const crl = parseCrl(der);
      verifyCrl(crl, this.#issuer, { at: thisUpdate, kind: crl.baseCrlNumber === undefined ? 'complete' : 'delta' });
      if (crl.entryCount !== count || crl.crlNumber !== crlNumber) throw new CaError('ERR_CRL_INVALID', 'the new CRL does not read back as it was written; it is not published');
      return der;
    };
    const der = await signed(encodeTbsCrl({ ...fields, nextUpdate: plan.nextUpdate, entries, freshest: delta?.points }), entries.count);
    if (delta === undefined) return { scope, entries: entries.count, der, delta: undefined };
    const base = delta.base === undefined ? undefined : readCrlList(delta.base);
    const baseCrlNumber = base?.crlNumber ?? crlNumber;
    const changes = base === undefined ? new CrlEntryBuffer() : changesSince(base, entries.octets());
    if (base !== undefined) for (const [serial, revokedAt] of draft.liftedSince(base)) changes.addAt(serial, revokedAt, 'removeFromCRL');
    const deltaDer = await signed(encodeTbsCrl({ ...fields, nextUpdate: delta.nextUpdate, entries: changes, baseCrlNumber }), changes.count);
    return { scope, entries: entries.count, der, delta: { baseCrlNumber, entries: changes.count, der: deltaDer } };
  }
}

/** A revocation that is younger than a CRL by its date may be on it all the same. */
const clockSlackSeconds = 60;

/** A CRL in the making, beside the one it is to replace: both lists are in order of serials. */
class Draft {
  readonly plan: CrlPlan;
  readonly entries: CrlEntryBuffer;
  readonly #previous: CrlList | undefined;
  /** At the entry awaited; undefined after the last. */
  #cursor: CrlEntryCursor | undefined;
  readonly #gone: GoneEntry[] = [];

  constructor(plan: CrlPlan) {
    this.plan = plan;
    this.#previous = plan.previous === undefined ? undefined : readCrlList(plan.previous);
    this.#cursor = this.#previous?.entries();
    this.entries = new CrlEntryBuffer({ expectedEntries: Math.ceil((this.#previous?.entryOctets.length ?? 0) / 50) + 64 });
    this.#advance();
  }

  add({ serial, revokedAt, reason, notAfter }: RevokedText): void {
    const { entries } = this;
    entries.addAt(serial, revokedAt, reason);
    for (let cursor = this.#cursor; cursor !== undefined; cursor = this.#cursor) {
      const order = entries.compareLast(cursor.der, cursor.serialOffset, cursor.serialLength);
      if (order < 0) break;
      if (order > 0) this.#miss(cursor);
      this.#advance();
      if (order === 0) break;
    }
    const { leftOut } = this.plan;
    if (leftOut !== undefined && notAfter <= leftOut.endedBy && revokedAt < leftOut.revokedBefore) entries.takeBack();
  }

  /**
   * Everything the last CRL lists must still be known to the store: a revoked certificate that drops
   * off the list is good again to every relying party. Answers with what the store has not shown.
   */
  finish(): readonly GoneEntry[] {
    for (let cursor = this.#cursor; cursor !== undefined; cursor = this.#cursor) {
      this.#miss(cursor);
      this.#advance();
    }
    return this.#gone;
  }

  /**
   * RFC 5280 §5.2.4: on no list now, and not on the base, but on a complete CRL between the two, from
   * which somebody may start. Serials with the moment of the revocation.
   */
  liftedSince(base: CrlList): ReadonlyMap<SerialHex, number> {
    const lifted = new Map<SerialHex, number>();
    const since = base.thisUpdate.getTime() / 1_000 - clockSlackSeconds;
    for (const { serial, revokedAt } of this.#gone) if (revokedAt >= since) lifted.set(serial, revokedAt);
    const before = this.plan.delta?.previous === undefined ? undefined : readCrlList(this.plan.delta.previous).entries();
    while (before?.next() === true) if (before.reason === undefined && before.revokedAt >= since) lifted.set(serialAt(before), before.revokedAt);
    if (lifted.size === 0) return lifted;
    const octets = this.entries.octets();
    for (const cursor of [base.entries(), new CrlEntryCursor(octets, { start: 0, end: octets.length, version: 2 })]) while (cursor.next()) lifted.delete(serialAt(cursor));
    return lifted;
  }

  get wanted(): boolean {
    const { when, points, delta } = this.plan;
    const before = this.#previous;
    if (when === 'always' || before === undefined) return true;
    const same = (a: readonly string[], b: readonly string[]): boolean => a.join('\n') === b.join('\n');
    return !equalBytes(before.entryOctets, this.entries.octets()) || !same(before.issuingDistributionPoint?.uris ?? [], points) || !same(before.freshest, delta?.points ?? []);
  }

  #miss(cursor: CrlEntryCursor): void {
    this.#gone.push({ serial: serialAt(cursor), reason: cursor.reason, revokedAt: cursor.revokedAt });
  }

  #advance(): void {
    if (this.#cursor?.next() !== true) this.#cursor = undefined;
  }
}

/** RFC 5280 §5.2.4: what was added or changed since the base, and what is on it no longer. */
export function changesSince(base: CrlList, octets: Uint8Array): CrlEntryBuffer {
  const now = new CrlEntryCursor(octets, { start: 0, end: octets.length, version: 2 });
  const before = base.entries();
  const changes = new CrlEntryBuffer();
  let [hasNow, hasBefore] = [now.next(), before.next()];
  while (hasNow || hasBefore) {
    const order = !hasBefore ? -1 : !hasNow ? 1 : compareSerials(now, before);
    // §5.3.1: a hold was lifted, or the certificate has expired.
    if (order > 0) changes.addAt(serialOctets(before), before.revokedAt, 'removeFromCRL');
    else if (order < 0 || now.revokedAt !== before.revokedAt || now.reasonCode !== before.reasonCode) changes.addAt(serialOctets(now), now.revokedAt, now.reason ?? 'unspecified');
    if (order <= 0) hasNow = now.next();
    if (order >= 0) hasBefore = before.next();
  }
  return changes;
}

const serialOctets = ({ der, serialOffset, serialLength }: CrlEntryCursor): Uint8Array => der.subarray(serialOffset, serialOffset + serialLength);

const serialAt = (cursor: CrlEntryCursor): SerialHex => Buffer.from(serialOctets(cursor)).toString('hex');

function compareSerials(a: CrlEntryCursor, b: CrlEntryCursor): number {
  const shorter = Math.min(a.serialLength, b.serialLength);
  for (let i = 0; i < shorter; i++) {
    const difference = (a.der[a.serialOffset + i] ?? 0) - (b.der[b.serialOffset + i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.serialLength - b.serialLength;
}

