/** The key that signs OCSP answers and its certificate, which the issuing CA renews by itself (RFC 6960 §4.2.2.2: a delegate). */
import { readFile } from 'node:fs/promises';
import type { KeyObject } from 'node:crypto';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import { certificateFile, keyFile } from './hierarchy-files.ts';
import type { Issuer } from './issuer.ts';
import { readOrMakePrivateKey } from './kept-key.ts';
import { generatePrivateKey, signerOf, writePrivateKey } from './key-store.ts';
import type { CaStore, Clock, Randomness, Signer } from './ports.ts';
import { spkiOf } from './x509/algorithm.ts';
import { parseCertificate, verifyCertificateSignature } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { equalBytes } from './x509/der.ts';
import { EXTENDED_KEY_USAGE } from './x509/extension.ts';
import { decodePem, encodePem } from './x509/pem.ts';

export interface OcspSignerOptions {
  readonly issuer: Issuer;
  /** Where key and certificate are kept; undefined for an authority that lives in memory only. */
  readonly directory: string | undefined;
  readonly passphrase: string | undefined;
  readonly store: Pick<CaStore, 'findCertificates'>;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Certifies a key for signing answers, durably like every certificate; answers with DER. */
  readonly issue: (spki: Uint8Array) => Promise<Uint8Array>;
  readonly onError: (error: unknown) => void;
}

export interface OcspCredential {
  readonly signer: Signer;
  readonly certificate: Certificate;
}

/** After a renewal that failed, while the certificate in use is still good. */
const retryMs = 60_000;
/** After a failure that left none: anyone may ask, and each attempt costs. */
const pauseMs = 1_000;

export class OcspSigner {
  readonly #options: OcspSignerOptions;
  #credential: OcspCredential | undefined;
  #key: KeyObject | undefined;
  #renewing: Promise<OcspCredential> | undefined;
  #retryAt = 0;
  #failure: { readonly error: unknown; readonly until: number } | undefined;

  constructor(options: OcspSignerOptions) {
    this.#options = options;
  }

  /** What to sign with now. Renewed in the background from half of its life on; waited for only when there is none that is valid. */
  async current(): Promise<OcspCredential> {
    const now = this.#options.clock.now().getTime();
    const credential = this.#credential;
    if (credential === undefined || now >= credential.certificate.notAfter.getTime()) {
      if (this.#failure !== undefined && now < this.#failure.until) throw this.#failure.error;
      return this.#renew();
    }
    if (now >= halfLife(credential.certificate) && now >= this.#retryAt) this.#renew().catch(this.#options.onError);
    return credential;
  }

  /** A certificate was revoked; answers whether it was this one. The next has another key. */
  forget(serial: string): boolean {
    if (this.#credential?.certificate.serial !== serial) return false;
    this.#credential = undefined;
    this.#key = undefined;
    this.#renewing = undefined;
    return true;
  }

  #renew(): Promise<OcspCredential> {
    const renewing = (this.#renewing ??= this.#readOrIssue()
      .then(
        (credential) => {
          // Unless it was revoked meanwhile.
          if (this.#renewing === renewing) this.#credential = credential;
          return credential;
        },
        (error: unknown) => {
          this.#failure = { error, until: this.#options.clock.now().getTime() + pauseMs };
          throw error;
        },
      )
      .finally(() => {
        if (this.#renewing === renewing) this.#renewing = undefined;
      }));
    return renewing;
  }

  /** Another process of this directory may have renewed already. */
  async #readOrIssue(): Promise<OcspCredential> {
    const now = this.#options.clock.now().getTime();
    this.#retryAt = now + retryMs;
    const key = await this.#readKey();
    const present = await this.#readCertificate(key);
    if (present === 'revoked') return this.#issueFor(await this.#replaceKey());
    if (present !== undefined && now < halfLife(present)) return { signer: signerOf(key), certificate: present };
    try {
      return await this.#issueFor(key);
    } catch (error) {
      if (present !== undefined) {
        this.#options.onError(error);
        return { signer: signerOf(key), certificate: present };
      }
      // Revoked as compromised, and its certificate is no longer at hand.
      if (!(error instanceof CaError && error.code === 'ERR_CA_KEY_REFUSED')) throw error;
      return this.#issueFor(await this.#replaceKey());
    }
  }

  async #issueFor(key: KeyObject): Promise<OcspCredential> {
    const { issuer, issue } = this.#options;
    const der = await issue(spkiOf(key));
    const files = this.#files();
    if (files !== undefined) await writeDurably(files.certificate, encodePem('CERTIFICATE', der) + issuer.pem);
    this.#key = key;
    return { signer: signerOf(key), certificate: parseCertificate(der) };
  }

  async #readKey(): Promise<KeyObject> {
    const files = this.#files();
    if (files !== undefined) return readOrMakePrivateKey(files.key, this.#algorithm(), this.#options);
    return this.#key ?? generatePrivateKey(this.#algorithm());
  }

  async #replaceKey(): Promise<KeyObject> {
    const files = this.#files();
    const key = await generatePrivateKey(this.#algorithm());
    if (files !== undefined) await writePrivateKey(files.key, key, { ...this.#options, existing: 'replace' });
    return key;
  }

  /** The certificate at hand, if it is of this key and this issuer, for signing answers, valid and not revoked. */
  async #readCertificate(key: KeyObject): Promise<Certificate | 'revoked' | undefined> {
    const { issuer, store, clock } = this.#options;
    const certificate = (await this.#certificateInFile()) ?? this.#credential?.certificate;
    if (certificate === undefined || !equalBytes(certificate.spki, spkiOf(key)) || !verifyCertificateSignature(certificate, issuer.certificate.spki)) return undefined;
    const [record] = await store.findCertificates({ issuerId: issuer.id, serial: certificate.serial, limit: 1 });
    if (record?.state === 'revoked') return 'revoked';
    const purpose = certificate.extendedKeyUsage?.includes(EXTENDED_KEY_USAGE.OCSPSigning) === true;
    return purpose && record?.state === 'issued' && clock.now() < certificate.notAfter ? certificate : undefined;
  }

  async #certificateInFile(): Promise<Certificate | undefined> {
    const files = this.#files();
    if (files === undefined) return undefined;
    try {
      const [leaf] = decodePem(await readFile(files.certificate, 'utf8'), 'CERTIFICATE');
      return leaf === undefined ? undefined : parseCertificate(leaf.der);
    } catch {
      // None yet, or not one of ours: another takes its place.
      return undefined;
    }
  }

  /** The same as the CA's: whoever can verify the one can verify the other. */
  #algorithm(): Signer['algorithm'] {
    const { signer, name } = this.#options.issuer;
    if (signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of the ${name} CA is not here; answer OCSP requests where the key is kept`);
    return signer.algorithm;
  }

  #files(): { readonly key: string; readonly certificate: string } | undefined {
    const { directory, issuer } = this.#options;
    const name = issuer.name === 'issuing' ? 'ocsp' : `ocsp-${issuer.name}`;
    return directory === undefined ? undefined : { key: keyFile(directory, name), certificate: certificateFile(directory, name) };
  }
}

const halfLife = ({ notBefore, notAfter }: Certificate): number => (notBefore.getTime() + notAfter.getTime()) / 2;
