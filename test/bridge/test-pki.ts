/** A root, an issuing CA and what they sign, for servers on loopback. */
import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import { createHash, KeyObject, webcrypto, X509Certificate } from 'node:crypto';
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

x509.cryptoProvider.set(webcrypto as unknown as Crypto);
const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

interface TestKeyPair {
  readonly publicKey: CryptoKey;
  readonly privateKey: CryptoKey;
}

interface Authority {
  readonly certificate: x509.X509Certificate;
  readonly keys: TestKeyPair;
  readonly pem: string;
}

export interface Issued {
  readonly keyPem: string;
  /** Leaf, then issuing CA. */
  readonly certificatePem: string;
  readonly leafPem: string;
  readonly serial: string;
  readonly leaf: X509Certificate;
}

export interface TestPki {
  readonly rootPem: string;
  readonly issuingPem: string;
  readonly rootThumbprint: string;
  issue(request: { name: string; server?: boolean; notBefore?: Date; notAfter?: Date; dns?: readonly string[]; ips?: readonly string[]; publicKey?: CryptoKey }): Promise<Issued>;
}

const hour = 3_600_000;
const generate = (): Promise<TestKeyPair> => webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) as unknown as Promise<TestKeyPair>;

export async function createTestPki(name = 'Test'): Promise<TestPki> {
  const root = await authority(`CN=${name} Root`, 1);
  const issuing = await authority(`CN=${name} Issuing`, 0, root);
  return {
    rootPem: root.pem,
    issuingPem: issuing.pem,
    rootThumbprint: createHash('sha256').update(Buffer.from(root.certificate.rawData)).digest('hex'),
    issue: async ({ name, server = false, notBefore = new Date(Date.now() - hour), notAfter = new Date(Date.now() + hour), dns = [], ips = [], publicKey }) => {
      const keys = await generate();
      const names = server ? [...dns.map((value) => ({ type: 'dns' as const, value })), ...ips.map((value) => ({ type: 'ip' as const, value }))] : [{ type: 'url' as const, value: `spiffe://acme.internal/agent/${name}` }];
      const certificate = await x509.X509CertificateGenerator.create({
        subject: `CN=${name}`,
        issuer: issuing.certificate.subject,
        notBefore,
        notAfter,
        publicKey: publicKey ?? keys.publicKey,
        signingKey: issuing.keys.privateKey,
        signingAlgorithm: algorithm,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([server ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth]),
          new x509.SubjectAlternativeNameExtension(names),
        ],
      });
      const leafPem = `${certificate.toString('pem')}\n`;
      const leaf = new X509Certificate(leafPem);
      return {
        keyPem: KeyObject.from(keys.privateKey as unknown as webcrypto.CryptoKey).export({ type: 'pkcs8', format: 'pem' }).toString(),
        certificatePem: `${leafPem}${issuing.pem}`,
        leafPem,
        serial: leaf.serialNumber.toLowerCase(),
        leaf,
      };
    },
  };
}

async function authority(subject: string, pathLength: number, parent?: Authority): Promise<Authority> {
  const keys = await generate();
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: parent?.certificate.subject ?? subject,
    notBefore: new Date(Date.now() - 24 * hour),
    notAfter: new Date(Date.now() + 24 * hour),
    publicKey: keys.publicKey,
    signingKey: parent?.keys.privateKey ?? keys.privateKey,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, pathLength, true), new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true)],
  });
  return { certificate, keys, pem: `${certificate.toString('pem')}\n` };
}

/** Lays out an identity directory as `issue --out` does. */
export async function writeIdentity(directory: string, pki: TestPki, issued: Issued, extra: Record<string, unknown> = {}): Promise<string> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFile(join(directory, 'key.pem'), issued.keyPem, { mode: 0o600 });
  await chmod(join(directory, 'key.pem'), 0o600);
  await writeFile(join(directory, 'cert.pem'), issued.certificatePem);
  await writeFile(join(directory, 'ca.pem'), pki.rootPem);
  await writeFile(join(directory, 'identity.json'), JSON.stringify({ version: 1, name: 'agent-7', key: 'key.pem', certificate: 'cert.pem', ca: 'ca.pem', ...extra }));
  return directory;
}

/** Replaces key and certificate one after the other, as a renewal does. */
export async function swapIdentity(directory: string, issued: Issued): Promise<void> {
  await writeFile(join(directory, 'key.new'), issued.keyPem, { mode: 0o600 });
  await writeFile(join(directory, 'cert.new'), issued.certificatePem);
  await rename(join(directory, 'key.new'), join(directory, 'key.pem'));
  await rename(join(directory, 'cert.new'), join(directory, 'cert.pem'));
}
