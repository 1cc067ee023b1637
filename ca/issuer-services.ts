/** What every CA of the hierarchy needs beside its key: who publishes its CRL, and who answers about its certificates. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuthorityOptions } from './authority-options.ts';
import { CrlPublisher } from './crl.ts';
import { parseDuration } from './duration.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { OcspResponder } from './ocsp.ts';
import { OcspResponders } from './ocsp-responders.ts';
import type { IssuerName } from './requests.ts';

export interface IssuerServicesOptions extends Pick<AuthorityOptions, 'store' | 'clock' | 'randomness' | 'passphrase' | 'crlLifetime' | 'ocsp' | 'onBackgroundError'> {
  /** Certifies a key for signing OCSP answers of this issuer. */
  readonly certifyResponder: (issuer: Issuer, spki: Uint8Array) => Promise<Uint8Array>;
}

export class IssuerServices {
  /** Of every CA: the CRLs of one whose key is elsewhere can be read. */
  readonly publishers = new Map<IssuerName, CrlPublisher>();
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
    const { store, clock, crlLifetime } = this.#options;
    return new CrlPublisher({
      issuer,
      store,
      clock,
      sleep: (ms) => sleep(ms),
      lifetimeSeconds: parseDuration(crlLifetime ?? '24h'),
      file: directory === undefined ? undefined : join(directory, 'crl', `${issuer.name}.crl`),
    });
  }

  #responder(issuer: Issuer, directory: string | undefined): OcspResponder {
    const { store, clock, randomness, passphrase, onBackgroundError, certifyResponder } = this.#options;
    return new OcspResponder({ issuer, directory, passphrase, store, clock, randomness, issue: (spki) => certifyResponder(issuer, spki), onError: onBackgroundError ?? (() => undefined) });
  }
}
