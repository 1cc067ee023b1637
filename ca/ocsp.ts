/**
 * Answers OCSP requests about the certificates of one issuer (RFC 6960, RFC 5019). What it says comes
 * from the store; answers are signed by a delegate of the issuer and kept as long as they say what is true.
 */
import { hash } from 'node:crypto';
import { CaError } from './errors.ts';
import { KeptAnswers } from './ocsp-answers.ts';
import type { OcspAnswer } from './ocsp-answers.ts';
import { OcspSigner } from './ocsp-signer.ts';
import type { OcspSignerOptions } from './ocsp-signer.ts';
import { StatusBook } from './ocsp-status.ts';
import type { Clock } from './ports.ts';
import type { CertificateKey } from './requests.ts';
import { TokenBucket } from './token-bucket.ts';
import type { TokenBucketOptions } from './token-bucket.ts';
import { signatureAlgorithmFor } from './x509/algorithm.ts';
import type { Certificate } from './x509/certificate.ts';
import { DerReader, equalBytes } from './x509/der.ts';
import { assembleOcspResponse, encodeCertificateId, encodeOcspError, encodeOcspResponseData, issuerHashes } from './x509/ocsp.ts';
import { readCertificateId } from './x509/ocsp-certificate-id.ts';
import type { OcspCertificateId, OcspCertificateStatus, OcspHash, OcspRequest } from './x509/ocsp.ts';

export type { OcspAnswer, OcspShared } from './ocsp-answers.ts';

export interface OcspResponderOptions extends OcspSignerOptions {
  /** From thisUpdate to nextUpdate; an answer is made again at half of it. Default 3,600. */
  readonly lifetimeSeconds?: number | undefined;
  /** Bounds what is signed for requests whose answers cannot be kept: with a nonce, several at once, about nothing we know. Default 500 a second. */
  readonly onDemand?: TokenBucketOptions | undefined;
  /** Bounds looks at the store and signatures for answers that can be kept. Default 1,000 a second. */
  readonly keepable?: TokenBucketOptions | undefined;
  /** Octets of answers kept. Default 16 MiB. */
  readonly maxKeptOctets?: number | undefined;
}

interface Stated {
  readonly id: OcspCertificateId;
  readonly status: OcspCertificateStatus;
}

interface Signed {
  readonly der: Uint8Array;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
}

/** Some 100 octets each. */
const rememberedSerials = 100_000;

export class OcspResponder {
  readonly #options: OcspResponderOptions;
  readonly #clock: Clock;
  readonly #lifetimeMs: number;
  readonly #signer: OcspSigner;
  readonly #statuses: StatusBook;
  readonly #answers: KeptAnswers;
  readonly #onDemand: TokenBucket;
  readonly #keepable: TokenBucket;
  readonly #hashes: Readonly<Record<OcspHash, { readonly name: string; readonly key: string }>>;
  #failing = false;

  constructor(options: OcspResponderOptions) {
    const { issuer, clock, store } = options;
    this.#options = options;
    this.#clock = clock;
    this.#lifetimeMs = (options.lifetimeSeconds ?? 3_600) * 1_000;
    this.#signer = new OcspSigner(options);
    this.#statuses = new StatusBook({ store, issuerId: issuer.id, limit: rememberedSerials });
    this.#answers = new KeptAnswers(options.maxKeptOctets ?? 16 * 1024 * 1024);
    this.#onDemand = new TokenBucket(clock, options.onDemand ?? { perSecond: 500, burst: 500 });
    this.#keepable = new TokenBucket(clock, options.keepable ?? { perSecond: 1_000, burst: 1_000 });
    this.#hashes = { sha1: issuerHashes(issuer.certificate, 'sha1'), sha256: issuerHashes(issuer.certificate, 'sha256') };
  }

  /** Whether everything asked about has the issuer of this responder. */
  speaksFor({ certificateIds }: OcspRequest): boolean {
    return certificateIds.every((id) => this.#isOurs(id));
  }

  /** To a request that `speaksFor` accepted. */
  async answer(asked: OcspRequest): Promise<OcspAnswer> {
    const [only] = asked.certificateIds;
    try {
      const answer = asked.nonce === undefined && asked.certificateIds.length === 1 && only !== undefined ? await this.#keptAnswer(only, this.#keepable) : await this.#answerOnDemand(asked);
      if (answer === undefined) return { der: encodeOcspError('tryLater') };
      this.#failing = false;
      return answer;
    } catch (error) {
      this.#report(error);
      // The store is expected back; of anything else nobody knows.
      return { der: encodeOcspError(error instanceof CaError && error.code === 'ERR_STORE_UNAVAILABLE' ? 'tryLater' : 'internalError') };
    }
  }

  /**
   * An answer to be stapled to a handshake: DER, or undefined for a certificate of somebody else.
   * @throws CaError `ERR_STORE_UNAVAILABLE`, `ERR_CA_MISSING`, `ERR_KEY_*`
   */
  async staple(certificate: Pick<Certificate, 'serial' | 'issuerNameDer' | 'authorityKeyIdentifier'>): Promise<Uint8Array | undefined> {
    const { certificate: issuer } = this.#options.issuer;
    if (!equalBytes(certificate.issuerNameDer, issuer.subjectNameDer) || certificate.authorityKeyIdentifier !== issuer.subjectKeyIdentifier) return undefined;
    // SHA-1 is what every client can compare; nothing rests on it.
    const id = readCertificateId(new DerReader(encodeCertificateId({ hash: 'sha1', issuer, serial: certificate.serial })));
    return (await this.#keptAnswer(id, undefined))?.der;
  }

  /** For as long as `isHeard` answers true, every change of a status is told to `forget`, so that it need not be looked up for each answer. */
  follow(isHeard: () => boolean): void {
    this.#statuses.follow(isHeard);
  }

  /** The status of a certificate changed: the next answer about it is a new one. */
  forget({ issuerId, serial }: CertificateKey): void {
    if (issuerId !== this.#options.issuer.id) return;
    this.#statuses.forget(serial);
    // What a revoked signer signed is worth nothing.
    if (this.#signer.forget(serial)) this.#answers.clear();
  }

  /** One certificate, no nonce (RFC 5019 §2.1.1): signed once, given until half of its life is over or the status changes. */
  async #keptAnswer(id: OcspCertificateId, bound: TokenBucket | undefined): Promise<OcspAnswer | undefined> {
    // Octet for octet, since the answer repeats them.
    const key = Buffer.from(id.der.buffer, id.der.byteOffset, id.der.length).toString('latin1');
    const find = (status: OcspCertificateStatus): OcspAnswer | undefined => this.#answers.find(key, { says: textOf(status), at: this.#clock.now().getTime() });
    const known = this.#statuses.known(id.serial);
    const ready = known === undefined ? undefined : find(known);
    if (ready !== undefined) return ready;
    if (bound?.take() === false) return undefined;
    const status = known ?? (await this.#statuses.look(id.serial));
    const present = find(status);
    if (present !== undefined) return present;
    // Who asks about serials of his own making gets no more than who sends nonces, and pushes nothing out.
    if (status.status === 'unknown') return bound === undefined || this.#onDemand.take() ? { der: (await this.#sign([{ id, status }])).der } : undefined;
    const { der, thisUpdate, nextUpdate } = await this.#sign([{ id, status }]);
    const answer = { der, shared: { thisUpdate, nextUpdate, tag: `"${hash('sha256', der, 'base64url')}"` } };
    this.#answers.keep(key, { answer, says: textOf(status), refreshAt: (thisUpdate.getTime() + nextUpdate.getTime()) / 2 });
    return answer;
  }

  async #answerOnDemand({ certificateIds, nonce }: OcspRequest): Promise<OcspAnswer | undefined> {
    if (!this.#onDemand.take()) return undefined;
    const statuses = await Promise.all(certificateIds.map(async (id) => ({ id, status: this.#statuses.known(id.serial) ?? (await this.#statuses.look(id.serial)) })));
    return { der: (await this.#sign(statuses, nonce)).der };
  }

  async #sign(statuses: readonly Stated[], nonce?: Uint8Array): Promise<Signed> {
    const { signer, certificate } = await this.#signer.current();
    const thisUpdate = new Date(Math.floor(this.#clock.now().getTime() / 1_000) * 1_000);
    // Nobody could verify it once the certificate of its signer has ended.
    const nextUpdate = new Date(Math.min(thisUpdate.getTime() + this.#lifetimeMs, certificate.notAfter.getTime()));
    const data = encodeOcspResponseData({
      responder: { spki: signer.spki },
      producedAt: thisUpdate,
      thisUpdate,
      nextUpdate,
      statuses: statuses.map(({ id, status }) => ({ certificateId: id.der, status })),
      nonce,
    });
    const signature = await signer.sign(data);
    return { der: assembleOcspResponse(data, { algorithm: signatureAlgorithmFor(signer.algorithm), signature, certificates: [certificate.der] }), thisUpdate, nextUpdate };
  }

  #isOurs({ hash: hashed, issuerNameHash, issuerKeyHash }: OcspCertificateId): boolean {
    return hashed !== undefined && this.#hashes[hashed].name === issuerNameHash && this.#hashes[hashed].key === issuerKeyHash;
  }

  /** Once, until it works again: anyone may ask, and each request would be a line. */
  #report(error: unknown): void {
    if (!this.#failing) this.#options.onError(error);
    this.#failing = true;
  }
}

const textOf = (status: OcspCertificateStatus): string => (status.status === 'revoked' ? `revoked ${status.revokedAt.getTime()} ${status.reason}` : status.status);
