/** Publishes the complete CRL of one issuer: built from the store, checked, stored, written to a file. */
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { crlPublished } from './events.ts';
import { issuerKeyIdentifier } from './issuance.ts';
import type { Issuer } from './issuer.ts';
import type { CaStore, Clock, CrlRecord, RevocationReason, RevokedSerial } from './ports.ts';
import { signatureAlgorithmFor } from './x509/algorithm.ts';
import { assembleSigned } from './x509/certificate.ts';
import { CrlEntryBuffer, encodeTbsCrl, parseCrl, verifyCrl } from './x509/crl.ts';
import type { Crl, CrlEntryCursor } from './x509/crl.ts';

export interface CrlPublisherOptions {
  readonly issuer: Issuer;
  readonly store: CaStore;
  readonly clock: Clock;
  readonly sleep: (ms: number) => Promise<void>;
  /** nextUpdate - thisUpdate; rebuilt at half of it. */
  readonly lifetimeSeconds: number;
  /** DER file kept equal to the stored CRL. */
  readonly file: string | undefined;
}

/** A clock this far behind the last CRL is wrong, not merely in the same second. */
const clockToleranceMs = 60_000;

export class CrlPublisher {
  readonly #options: CrlPublisherOptions;
  #running: Promise<CrlRecord> | undefined;
  #next: Promise<CrlRecord> | undefined;

  constructor(options: CrlPublisherOptions) {
    this.#options = options;
  }

  /** One build at a time; whoever asks while one runs gets the next, which has seen every revocation so far. */
  publish(actor = 'ca'): Promise<CrlRecord> {
    if (this.#running === undefined) {
      this.#running = this.#publishOnce(actor).finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#next ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#next = undefined;
        return this.publish(actor);
      });
    return this.#next;
  }

  latest(): Promise<CrlRecord | undefined> {
    return this.#options.store.latestCrl(this.#options.issuer.id);
  }

  /** When the next CRL is due: at half-life of the present one, at once without one. */
  async dueAt(): Promise<Date> {
    const latest = await this.latest();
    if (latest === undefined) return new Date(0);
    const configured = latest.thisUpdate.getTime() + this.#options.lifetimeSeconds * 500;
    return new Date(Math.min(configured, (latest.thisUpdate.getTime() + latest.nextUpdate.getTime()) / 2));
  }

  /** Makes the file equal to the newest stored CRL, also when another process publishes at the same time. */
  async syncFile(): Promise<void> {
    const { file } = this.#options;
    if (file === undefined) return;
    await mkdir(dirname(file), { recursive: true, mode: 0o755 });
    for (let written = -1n; ; ) {
      const latest = await this.latest();
      if (latest === undefined || latest.crlNumber === written) return;
      const present = await readFile(file).catch(() => undefined);
      if (present === undefined || !present.equals(latest.der)) {
        await writeDurably(file, latest.der, {
          verify: async (temporary) => {
            this.#verify(new Uint8Array(await readFile(temporary)), latest.thisUpdate);
          },
        });
      }
      written = latest.crlNumber;
    }
  }

  async #publishOnce(actor: string): Promise<CrlRecord> {
    const { store, issuer } = this.#options;
    for (let attempt = 1; ; attempt++) {
      const record = await this.#build();
      try {
        await store.saveCrl(record, crlPublished(record, issuer.name, { time: this.#options.clock.now(), actor }));
      } catch (error) {
        // Another process was faster; its CRL may not have seen what ours must list, so build again.
        if (attempt < 5 && error instanceof CaError && error.code === 'ERR_CRL_STALE') continue;
        throw error;
      }
      await this.syncFile();
      return record;
    }
  }

  async #build(): Promise<CrlRecord> {
    const { issuer, store, lifetimeSeconds } = this.#options;
    const { signer } = issuer;
    if (signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of the ${issuer.name} CA is not here; publish its CRL where the key is kept`);
    const latest = await this.latest();
    const thisUpdate = await this.#nextThisUpdate(latest);
    const previous = latest === undefined ? undefined : parseCrl(latest.der);
    const entries = new CrlEntryBuffer({ expectedEntries: (latest?.entries ?? 0) + 64 });
    const continuity = new Continuity(previous);
    for await (const page of store.revokedSerials(issuer.id)) {
      for (const revoked of page) {
        continuity.saw(revoked);
        if (!this.#isPast(revoked, latest)) entries.add(revoked);
      }
    }
    await this.#checkGone(continuity.finish());

    const crlNumber = await this.#nextNumber(latest);
    const nextUpdate = new Date(thisUpdate.getTime() + lifetimeSeconds * 1_000);
    const tbs = encodeTbsCrl({
      issuerName: issuer.certificate.subjectNameDer,
      signatureAlgorithm: signatureAlgorithmFor(signer.algorithm),
      thisUpdate,
      nextUpdate,
      crlNumber,
      authorityKeyIdentifier: issuerKeyIdentifier(issuer.certificate),
      entries,
    });
    const der = assembleSigned(tbs, signatureAlgorithmFor(signer.algorithm), await signer.sign(tbs));
    const checked = this.#verify(der, thisUpdate);
    if (checked.entryCount !== entries.count || checked.crlNumber !== crlNumber) throw new CaError('ERR_CRL_INVALID', 'the new CRL does not read back as it was written; it is not published');
    return { issuerId: issuer.id, crlNumber, thisUpdate, nextUpdate, entries: entries.count, der };
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
  async #nextThisUpdate(latest: CrlRecord | undefined): Promise<Date> {
    const now = () => Math.floor(this.#options.clock.now().getTime() / 1_000) * 1_000;
    if (latest === undefined) return new Date(now());
    const earliest = latest.thisUpdate.getTime() + 1_000;
    if (now() >= earliest) return new Date(now());
    const ahead = earliest - this.#options.clock.now().getTime();
    if (ahead > clockToleranceMs) throw new CaError('ERR_CRL_STALE', `the clock is ${Math.round(ahead / 1_000)}s behind the last CRL; set it right`, { facts: { lastThisUpdate: latest.thisUpdate.toISOString() } });
    // A thisUpdate in the future would be refused by every verifier.
    await this.#options.sleep(ahead);
    return new Date(Math.max(now(), earliest));
  }

  /** RFC 5280 §5.2.3: never a number twice, not even after the store went back to an older backup. */
  async #nextNumber(latest: CrlRecord | undefined): Promise<bigint> {
    const taken = [latest?.crlNumber ?? 0n, await this.#publishedNumber(), await this.#options.store.crlNumberFloor()];
    return taken.reduce((most, number) => (number > most ? number : most)) + 1n;
  }

  async #publishedNumber(): Promise<bigint> {
    if (this.#options.file === undefined) return 0n;
    try {
      return parseCrl(new Uint8Array(await readFile(this.#options.file))).crlNumber ?? 0n;
    } catch {
      // No file yet, or not one of ours: it is replaced.
      return 0n;
    }
  }

  /** RFC 5280 §3.3: an entry stays until a regular CRL was issued after the certificate's end; half a lifetime is one regular step. */
  #isPast({ notAfter, revokedAt }: RevokedSerial, latest: CrlRecord | undefined): boolean {
    return latest !== undefined && latest.thisUpdate.getTime() >= notAfter.getTime() + this.#options.lifetimeSeconds * 500 && revokedAt <= latest.thisUpdate;
  }

  #verify(der: Uint8Array, at: Date): Crl {
    const crl = parseCrl(der);
    verifyCrl(crl, this.#options.issuer.certificate, { at });
    return crl;
  }
}

interface GoneEntry {
  readonly serial: string;
  readonly reason: RevocationReason | undefined;
  /** Seconds since 1970. */
  readonly revokedAt: number;
}

/**
 * Everything the last CRL lists must still be known to the store: a revoked certificate that drops
 * off the list is good again to every relying party. Both lists are in order of serials.
 */
class Continuity {
  readonly #cursor: CrlEntryCursor | undefined;
  readonly #gone: GoneEntry[] = [];
  #awaited: string | undefined;

  constructor(previous: Crl | undefined) {
    this.#cursor = previous?.entries();
    this.#advance();
  }

  saw({ serial }: RevokedSerial): void {
    while (this.#awaited !== undefined && this.#awaited < serial) this.#miss(this.#awaited);
    if (serial === this.#awaited) this.#advance();
  }

  /** What the store has not shown. */
  finish(): readonly GoneEntry[] {
    while (this.#awaited !== undefined) this.#miss(this.#awaited);
    return this.#gone;
  }

  #miss(serial: string): void {
    this.#gone.push({ serial, reason: this.#cursor?.reason, revokedAt: this.#cursor?.revokedAt ?? 0 });
    this.#advance();
  }

  #advance(): void {
    this.#awaited =
      this.#cursor?.next() === true
        ? Buffer.from(this.#cursor.der.buffer, this.#cursor.der.byteOffset + this.#cursor.serialOffset, this.#cursor.serialLength).toString('hex').replace(/^(?:00)+(?=..)/, '')
        : undefined;
  }
}
