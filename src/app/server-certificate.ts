/** The gateway's own certificate: renewed by the gateway itself, with the key it has, before it becomes a problem. */
import { createPublicKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { writeDurably } from '../../ca/durable-file.ts';
import { readPrivateKey } from '../../ca/index.ts';
import type { CertificateAuthority, Clock } from '../../ca/index.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { parseCertificate, verifyCertificateSignature } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { nameAttributes } from '../../ca/x509/name.ts';
import { filesIn } from './deployment.ts';

export interface ServerCertificateWorld {
  readonly directory: string;
  readonly passphrase: string | undefined;
  readonly authority: CertificateAuthority;
  /** Milliseconds, `ca.serverTtl`. */
  readonly ttl: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

const dayMs = 86_400_000;

/**
 * Renews the server certificate when two thirds of its life are over, or another CA issues now. Same key, so that one rename
 * exchanges it and no crash leaves key and certificate of different pairs. Answers whether it did.
 * A certificate of another CA is the operator's affair.
 */
export const renewServerCertificate = async (world: ServerCertificateWorld): Promise<boolean> => {
  const { directory, authority, clock, logger, ttl } = world;
  const { serverCertificate, serverKey } = filesIn(directory);
  try {
    const [leaf] = decodePem(await readFile(serverCertificate, 'utf8'), 'CERTIFICATE');
    if (leaf === undefined) return false;
    const certificate = parseCertificate(leaf.der);
    const issuer = authority.issuers.find((each) => each.role === 'issuing' && verifyCertificateSignature(certificate, each.certificate.spki));
    const superseded = issuer !== undefined && issuer.name !== authority.issuing.name;
    if (!superseded && clock.now().getTime() < renewalDue(certificate)) return false;
    const facts = { serial: certificate.serial, notAfter: certificate.notAfter };
    if (issuer === undefined) {
      logger.warn(facts, 'server certificate of another CA ends soon: replace its files, they are taken over without a restart');
      return false;
    }
    const issued = await authority.issueServer({
      hosts: hostsOf(certificate), publicKey: createPublicKey(await readPrivateKey(serverKey, { passphrase: world.passphrase })), ttl: Math.floor(ttl / 1_000), actor: 'gateway',
    });
    await writeDurably(serverCertificate, issued.chain, { mode: 0o644 });
    logger.info({ serial: issued.serial, notAfter: issued.notAfter, replaces: certificate.serial }, 'server certificate renewed');
    return true;
  } catch (error) {
    logger.error({ error }, 'server certificate could not be renewed: issue one with sallyport issue HOST --profile server');
    return false;
  }
};

/** Looks once a day; answers with what ends it. */
export const keepServerCertificate = (world: ServerCertificateWorld, onRenewed: () => void): (() => void) => {
  const timer = setInterval(() => {
    void renewServerCertificate(world).then((renewed) => {
      if (renewed) onRenewed();
    });
  }, dayMs);
  timer.unref();
  return () => clearInterval(timer);
};

const renewalDue = ({ notBefore, notAfter }: Certificate): number => notBefore.getTime() + ((notAfter.getTime() - notBefore.getTime()) * 2) / 3;

/** The first one is the commonName, and the name in the inventory. */
const hostsOf = ({ subject, dnsNames, ipAddresses }: Certificate): readonly string[] => [...new Set([...nameAttributes(subject, 'CN'), ...dnsNames, ...ipAddresses])];
