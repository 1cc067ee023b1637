/** The status of certificates of one issuer: what the store says, remembered while a change feed is heard. */
import type { CaStore, IssuerId, SerialHex } from './ports.ts';
import type { OcspCertificateStatus } from './x509/ocsp.ts';

export interface StatusBookOptions {
  readonly store: Pick<CaStore, 'findCertificates'>;
  readonly issuerId: IssuerId;
  /** Serials remembered. */
  readonly limit: number;
}

const unknown: OcspCertificateStatus = { status: 'unknown' };
const good: OcspCertificateStatus = { status: 'good' };

export class StatusBook {
  readonly #options: StatusBookOptions;
  readonly #known = new Map<SerialHex, OcspCertificateStatus>();
  /** Looks at the store under way, and whether what they will find may be old. */
  readonly #looks = new Set<{ readonly serial: SerialHex; outdated: boolean }>();
  #isHeard: () => boolean = () => false;

  constructor(options: StatusBookOptions) {
    this.#options = options;
  }

  /** From now on every change is told to `forget`, for as long as `isHeard` answers true; else the store is asked each time. */
  follow(isHeard: () => boolean): void {
    this.#known.clear();
    this.#isHeard = isHeard;
  }

  forget(serial: SerialHex): void {
    this.#known.delete(serial);
    for (const look of this.#looks) if (look.serial === serial) look.outdated = true;
  }

  /** What is remembered of a serial, if that can be relied on. */
  known(serial: SerialHex): OcspCertificateStatus | undefined {
    return this.#isHeard() ? this.#known.get(serial) : undefined;
  }

  /** Asks the store. @throws CaError `ERR_STORE_UNAVAILABLE` */
  async look(serial: SerialHex): Promise<OcspCertificateStatus> {
    const look = { serial, outdated: false };
    this.#looks.add(look);
    try {
      for (;;) {
        look.outdated = false;
        const status = await this.#read(serial);
        // It changed while we looked: what we saw may be what was before.
        if (look.outdated) continue;
        if (status.status !== 'unknown' && this.#isHeard()) this.#remember(serial, status);
        return status;
      }
    } finally {
      this.#looks.delete(look);
    }
  }

  async #read(serial: SerialHex): Promise<OcspCertificateStatus> {
    const { store, issuerId } = this.#options;
    const [record] = await store.findCertificates({ issuerId, serial, limit: 1 });
    if (record?.state === 'issued') return good;
    if (record?.state === 'revoked') return { status: 'revoked', revokedAt: record.revokedAt ?? record.createdAt, reason: record.revocationReason ?? 'unspecified' };
    // RFC 6960 §2.2: good must not be said of what was never issued. An intent is not issued, and one left behind was never answered.
    return unknown;
  }

  #remember(serial: SerialHex, status: OcspCertificateStatus): void {
    this.#known.set(serial, status);
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= this.#options.limit) break;
      this.#known.delete(oldest);
    }
  }
}
