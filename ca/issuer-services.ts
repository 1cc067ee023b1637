/** What every CA of the hierarchy needs beside its key: who publishes its CRL, and who answers about its certificates. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuthorityOptions } from './authority-options.ts';
import { CrlPublisher } from './crl.ts';
import { IssuerSeries } from './crl-series.ts';
import { parseDuration } from './duration.ts';
import { CaError } from './errors.ts';
import { prefixOf } from './hierarchy.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { OcspResponder } from './ocsp.ts';
import { OcspResponders } from './ocsp-responders.ts';
import type { IssuerName } from './requests.ts';

export interface IssuerServicesOptions extends Pick<AuthorityOptions, 'store' | 'clock' | 'randomness' | 'passphrase' | 'publicUrl' | 'crlLifetime' | 'crlPartitions' | 'crlDeltaLifetime' | 'ocsp' | 'onBackgroundError'> {
  /** Certifies a key for signing OCSP answers of this issuer. */
  readonly certifyResponder: (issuer: Issuer, spki: Uint8Array) => Promise<Uint8Array>;
}

export class IssuerServices {
  /** Of every CA: the CRLs of one whose key is elsewhere can be read. */
  readonly publishers = new Map<IssuerName, CrlPublisher>();
  readonly series = new Map<IssuerName, IssuerSeries>();
  /** Of those whose key is here. */
  readonly scheduled = new Map<IssuerName, CrlPublisher>();
  /** Undefined when requests are not to be answered. */
  readonly ocsp: OcspResponders | undefined;
  readonly #options: IssuerServicesOptions;
  readonly #served = new Map<IssuerName, Issuer>();

  constructor(options: IssuerServicesOptions) {
    this.#options = options;
    this.ocsp = options.ocsp === false ? undefined : new OcspResponders();
  }

  /** Follows a change of the hierarchy; what has not changed keeps what it has remembered. Answers with the CAs whose CRL is due for the first time. */
  follow({ issuers, directory }: Hierarchy): readonly IssuerName[] {
    const begun: IssuerName[] = [];
    for (const issuer of issuers) {
      const before = this.#served.get(issuer.name);
      if (before?.certificate.thumbprint === issuer.certificate.thumbprint && before.signer === issuer.signer) continue;
      this.#served.set(issuer.name, issuer);
      const publisher = this.#publisher(issuer, directory);
      this.publishers.set(issuer.name, publisher);
      if (issuer.signer === undefined) {
        this.scheduled.delete(issuer.name);
        continue;
      }
      this.scheduled.set(issuer.name, publisher);
      begun.push(issuer.name);
      // Only an issuing CA has one: the root's key may be elsewhere.
      if (issuer.role === 'issuing') this.ocsp?.set(issuer.id, this.#responder(issuer, directory));
    }
    return begun;
  }

  #publisher(issuer: Issuer, directory: string | undefined): CrlPublisher {
    const { store, clock, publicUrl, crlLifetime, crlPartitions, crlDeltaLifetime } = this.#options;
    const publishedUnder = prefixOf(publicUrl);
    if (crlDeltaLifetime !== undefined && publishedUnder === undefined) throw new CaError('ERR_CA_LIMIT', 'delta CRLs are found by the address in the complete ones; set publicUrl, or publish none');
    const series = new IssuerSeries({ issuer, store, clock, partitions: crlPartitions ?? 1, publishedUnder });
    this.series.set(issuer.name, series);
    return new CrlPublisher({
      issuer,
      series,
      store,
      clock,
      sleep: (ms) => sleep(ms),
      lifetimeSeconds: parseDuration(crlLifetime ?? '24h'),
      deltaLifetimeSeconds: crlDeltaLifetime === undefined ? undefined : parseDuration(crlDeltaLifetime),
      publishedUnder,
      directory: directory === undefined ? undefined : join(directory, 'crl'),
    });
  }

  #responder(issuer: Issuer, directory: string | undefined): OcspResponder {
    const { store, clock, randomness, passphrase, onBackgroundError, certifyResponder } = this.#options;
    return new OcspResponder({ issuer, directory, passphrase, store, clock, randomness, issue: (spki) => certifyResponder(issuer, spki), onError: onBackgroundError ?? (() => undefined) });
  }
}
