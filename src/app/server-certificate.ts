/** The gateway's own certificate: renewed by the gateway itself before it becomes a problem. */
import { createPublicKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from 'pino';
import { syncDirectory, writeDurably } from '../../ca/durable-file.ts';
import { generatePrivateKey, readPrivateKey, writePrivateKey } from '../../ca/index.ts';
import type { CertificateAuthority, Clock, IssuedCertificate, Randomness } from '../../ca/index.ts';
import { renewalDue } from '../../ca/renewal-due.ts';
import { keyAlgorithmOf } from '../../ca/x509/algorithm.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { nameAttributes } from '../../ca/x509/name.ts';
import { ProcessLock } from '../../ca/process-lock.ts';
import { filesIn } from './deployment.ts';
import { belongs } from './server-identity.ts';

export interface ServerCertificateOptions {
  readonly directory: string;
  readonly passphrase: string | undefined;
  readonly authority: CertificateAuthority;
  /** Milliseconds, `ca.serverTtl`. */
  readonly ttl: number;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly logger: Logger;
  /** Where in the time of renewal it comes, from 0 to 1. Default: drawn. */
  readonly jitter?: number;
}

/** A machine that sleeps stops the timers, not the certificates. */
const longestSleepMs = 60_000;
const shortestSleepMs = 1_000;
const firstRetryMs = 10_000;
const longestRetryMs = 15 * 60_000;

export class ServerCertificate {
  readonly #options: ServerCertificateOptions;
  readonly #jitter: number;
  readonly #lock: ProcessLock;
  #failures = 0;
  #notBefore = 0;
  #said: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(options: ServerCertificateOptions) {
    this.#options = options;
    this.#jitter = options.jitter ?? Buffer.from(options.randomness.bytes(4)).readUInt32BE() / 0xffff_ffff;
    this.#lock = new ProcessLock(filesIn(options.directory).serverRenewalLock);
  }

  /**
   * Renews it from two thirds of its life on, or when another CA issues now. What is in use stays until there is
   * something better, and what fails is logged. A certificate of another CA is the operator's affair.
   * Answers whether it did.
   */
  async renew(): Promise<boolean> {
    return (await this.#look()).renewed;
  }

  /** From now on by itself. Answers with what ends it, after what is under way. */
  keep(onRenewed: () => void): () => Promise<void> {
    const again = (ms: number): void => {
      if (this.#stopped) return;
      this.#timer = setTimeout(look, ms);
      this.#timer.unref();
    };
    const look = (): void => {
      this.#looking = this.#look().then(({ renewed, nextMs }) => {
        if (renewed) onRenewed();
        again(Math.min(longestSleepMs, Math.max(shortestSleepMs, nextMs)));
      });
    };
    look();
    return async () => {
      this.#stopped = true;
      clearTimeout(this.#timer);
      await this.#looking;
    };
  }

  /** Never rejects. */
  async #look(): Promise<{ readonly renewed: boolean; readonly nextMs: number }> {
    const { clock, logger } = this.#options;
    const now = clock.now().getTime();
    // A clock that was set back must not turn a pause of minutes into one of days.
    if (this.#notBefore - now > longestRetryMs) this.#notBefore = now;
    if (now < this.#notBefore) return { renewed: false, nextMs: this.#notBefore - now };
    let left = Number.POSITIVE_INFINITY;
    try {
      const certificate = await this.#certificate();
      left = Math.max(0, certificate.notAfter.getTime() - now);
      const due = renewalDue(certificate, this.#jitter).getTime() - now;
      const issuer = this.#options.authority.issuers.find((each) => each.role === 'issuing' && verifyCertificateSignature(certificate, each.certificate.spki));
      const superseded = issuer !== undefined && issuer.name !== this.#options.authority.issuing.name;
      if (due > 0 && !superseded) {
        // Left by a process that was killed, or another one is at it right now.
        if (existsSync(filesIn(this.#options.directory).serverNextKey)) await this.#lock.alone(() => this.#settle(), clock.now());
        return { renewed: false, nextMs: due };
      }
      if (issuer === undefined) {
        this.#once(certificate.serial, () => logger.warn({ serial: certificate.serial, notAfter: certificate.notAfter }, 'server certificate of another CA ends soon: replace its files, they are taken over without a restart'));
        return { renewed: false, nextMs: longestSleepMs };
      }
      const renewed = (await this.#lock.alone(() => this.#exchange(certificate), clock.now())) === true;
      this.#failures = 0;
      return { renewed, nextMs: shortestSleepMs };
    } catch (error) {
      this.#failures += 1;
      const pauseMs = Math.max(shortestSleepMs, Math.min(longestRetryMs, firstRetryMs * 2 ** Math.min(20, this.#failures - 1), left / 4));
      this.#notBefore = now + pauseMs;
      this.#once(String(error), () => logger.error({ error }, 'server certificate could not be renewed and is tried again until it ends: issue one with sallyport issue HOST --profile server'));
      return { renewed: false, nextMs: pauseMs };
    }
  }

  async #certificate(): Promise<Certificate> {
    const { serverCertificate } = filesIn(this.#options.directory);
    const [leaf] = decodePem(await readFile(serverCertificate, 'utf8'), 'CERTIFICATE');
    if (leaf === undefined) throw new TypeError(`${serverCertificate} holds no certificate`);
    return parseCertificate(leaf.der);
  }

  async #exchange(before: Certificate): Promise<boolean> {
    const { directory, passphrase, randomness, authority, ttl, logger } = this.#options;
    const { serverCertificate, serverNextKey } = filesIn(directory);
    // Another process was first.
    if ((await this.#certificate()).serial !== before.serial) return false;
    await this.#settle();
    const key = await generatePrivateKey(keyAlgorithmOf(await readPrivateKey(filesIn(directory).serverKey, { passphrase })));
    await writePrivateKey(serverNextKey, key, { passphrase, randomness, existing: 'replace' });
    let issued: IssuedCertificate;
    try {
      issued = await authority.issueServer({ hosts: hostsOf(before), publicKey: createPublicKey(key), ttl: Math.floor(ttl / 1_000), actor: 'gateway' });
      // From this rename on the next key is the one in use, wherever it lies.
      await writeDurably(serverCertificate, issued.chain, { mode: 0o644 });
    } finally {
      await this.#settle();
    }
    logger.info({ serial: issued.serial, notAfter: issued.notAfter, replaces: before.serial }, 'server certificate renewed');
    this.#said = undefined;
    return true;
  }

  /** Ends what a crash left half done: the next key takes its place, or goes if the certificate is not for it. */
  async #settle(): Promise<void> {
    const { directory, passphrase } = this.#options;
    const { serverCertificate, serverKey, serverNextKey } = filesIn(directory);
    const next = await readPrivateKey(serverNextKey, { passphrase }).catch(() => undefined);
    const cert = await readFile(serverCertificate, 'utf8');
    if (next === undefined || !belongs(next, cert)) return rm(serverNextKey, { force: true });
    await rename(serverNextKey, serverKey);
    await syncDirectory(dirname(serverKey));
  }

  #once(what: string, say: () => void): void {
    if (this.#said === what) return;
    this.#said = what;
    say();
  }
}

/** The first one is the commonName, and the name in the inventory. */
const hostsOf = ({ subject, dnsNames, ipAddresses }: Certificate): readonly string[] => [...new Set([...nameAttributes(subject, 'CN'), ...dnsNames, ...ipAddresses])];
