/** Fills a new data directory: with a whole deployment, with one that waits for its certificate, or with a root alone. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newCaKey } from '../../ca/ca-key.ts';
import type { CaKey } from '../../ca/ca-key.ts';
import { writeDurably } from '../../ca/durable-file.ts';
import { createHierarchy, createRootAlone } from '../../ca/hierarchy.ts';
import type { CreateHierarchyOptions } from '../../ca/hierarchy.ts';
import { CertificateAuthority, generatePrivateKey, writePrivateKey } from '../../ca/index.ts';
import type { IssuedCertificate, KeyAlgorithm } from '../../ca/index.ts';
import { acceptFirst, endRequest, isPending, requestFirst } from '../../ca/pending.ts';
import type { PendingRequest } from '../../ca/pending.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { createCheckpointSigner } from '../audit/checkpoint.ts';
import { configFileName, loadConfig } from '../config/load.ts';
import type { Config } from '../config/load.ts';
import { starterConfig, starterPolicy } from '../config/starter.ts';
import { SallyportError } from '../errors.ts';
import { openStore } from '../store/open-store.ts';
import type { Store } from '../store/store.ts';
import { auditOrigin, authorityOptions, filesIn, keepLatestCheckpoint, openDeployment } from './deployment.ts';
import type { Deployment, World } from './deployment.ts';

/** Keys and certificates that come from elsewhere; what is absent is made. */
export type AuthoritySource = Pick<CreateHierarchyOptions, 'root' | 'issuing' | 'rootKey' | 'issuingKey' | 'rootKeyAlgorithm' | 'permittedDnsNames'>;

export interface FoundingOptions extends World {
  readonly directory: string;
  readonly name: string;
  readonly trustDomain: string;
  /** Names of the gateway. */
  readonly hosts: readonly string[];
  readonly keyAlgorithm: KeyAlgorithm;
  readonly passphrase: string | undefined;
  readonly source: AuthoritySource;
  /** For the audit log. */
  readonly actor: string;
}

export interface Founded {
  readonly config: Config;
  readonly authority: CertificateAuthority;
  readonly server: IssuedCertificate;
  readonly auditVerifierKey: string;
}

export const foundDeployment = (options: FoundingOptions): Promise<Founded> =>
  withGround(options, async ({ config, store, auditVerifierKey }) => {
    const { directory, name, trustDomain, keyAlgorithm, passphrase, clock, randomness, source } = options;
    const settings = authorityOptions(config, store, options);
    const hierarchy = await createHierarchy({ ...source, directory, name, trustDomain, keyAlgorithm, passphrase, publicUrl: config.publicUrl, clock, randomness });
    const authority = await CertificateAuthority.open(hierarchy, { ...settings, passphrase });
    const server = await furnish(authority, config, options);
    return { config, authority, server, auditVerifierKey };
  });

/** Of what `ca sign` needs, and nothing else. */
export const foundRootAlone = (options: FoundingOptions): Promise<Pick<Founded, 'authority' | 'auditVerifierKey'>> =>
  withGround({ ...options, crlLifetime: '90d' }, async ({ config, store, auditVerifierKey }) => {
    const { directory, name, trustDomain, keyAlgorithm, passphrase, clock, randomness, source } = options;
    const hierarchy = await createRootAlone({ ...source, directory, name, trustDomain, keyAlgorithm, passphrase, clock, randomness });
    const authority = await CertificateAuthority.open(hierarchy, { ...authorityOptions(config, store, options), passphrase });
    await authority.publishCrl('root');
    await authority.close();
    return { authority, auditVerifierKey };
  });

/** Everything but the certificate of the issuing CA, which a root elsewhere has to sign. */
export const beginDeployment = (options: FoundingOptions & { readonly root: Certificate }): Promise<PendingRequest & { readonly auditVerifierKey: string }> =>
  withGround(options, async ({ auditVerifierKey }) => {
    const { directory, name, passphrase, randomness, root, clock, hosts, keyAlgorithm } = options;
    const key: CaKey = options.source.issuingKey ?? (await newCaKey(keyAlgorithm));
    const request = await requestFirst(directory, { name, root, key, passphrase, randomness, now: clock.now() });
    await writeDurably(waitingFile(directory), JSON.stringify({ hosts, keyAlgorithm }), { mode: 0o600 });
    return { ...request, auditVerifierKey };
  });

/** Completes what `beginDeployment` began. Repeatable: what an interrupted run left is taken up. @throws CaError `ERR_CA_IMPORT`, `ERR_CA_MISSING` */
export const completeDeployment = async (options: World & { readonly directory: string; readonly certificates: readonly Certificate[]; readonly passphrase: string | undefined; readonly actor: string }): Promise<{ readonly deployment: Deployment; readonly server: IssuedCertificate }> => {
  const { directory, certificates, passphrase, clock } = options;
  const { trustDomain } = await loadConfig(directory);
  const { hosts, keyAlgorithm } = JSON.parse(await readFile(waitingFile(directory), 'utf8')) as Pick<FoundingOptions, 'hosts' | 'keyAlgorithm'>;
  await acceptFirst(directory, { certificates, trustDomain, now: clock.now(), passphrase });
  const deployment = await openDeployment(directory, options);
  try {
    const server = await furnish(deployment.authority, deployment.config, { ...options, hosts, keyAlgorithm });
    await endRequest(directory, 'issuing');
    return { deployment, server };
  } catch (error) {
    await deployment.close();
    throw error;
  }
};

/** Whether a directory waits for the certificate of its first issuing CA. */
export const isWaiting = async (directory: string): Promise<boolean> => (await isPending(directory, 'issuing')) && (await readFile(waitingFile(directory)).then(() => true, () => false));

/** What the certificate of the server is to be, once there is one. */
const waitingFile = (directory: string): string => join(directory, 'requests', 'server.json');

interface Ground {
  readonly config: Config;
  readonly store: Store;
  readonly auditVerifierKey: string;
}

/** Configuration, policy, store and the key of the audit log. */
async function withGround<T>({ directory, name, trustDomain, hosts, keyAlgorithm, passphrase, clock, randomness, crlLifetime }: FoundingOptions & { readonly crlLifetime?: string }, work: (ground: Ground) => Promise<T>): Promise<T> {
  await writeDurably(join(directory, configFileName), starterConfig({ name, trustDomain, hosts, keyAlgorithm, crlLifetime }), { mode: 0o600 });
  await writeDurably(join(directory, 'policy.yaml'), starterPolicy({ trustDomain }), { mode: 0o600 });
  const config = await loadConfig(directory);
  const auditKey = await generatePrivateKey('ed25519');
  const signer = createCheckpointSigner({ origin: auditOrigin(trustDomain), privateKey: auditKey });
  const store = await openStore(config.storeUrl, { clock, checkpointSigner: signer });
  try {
    const done = await work({ config, store, auditVerifierKey: signer.verifierKey });
    const files = filesIn(directory);
    await writePrivateKey(files.auditKey, auditKey, { passphrase, randomness });
    await writeDurably(files.auditVerifierKey, `${signer.verifierKey}\n`, { mode: 0o644 });
    await keepLatestCheckpoint(directory, store);
    return done;
  } finally {
    await store.close();
  }
}

/** The certificate of the server, and the CRLs of the CAs whose keys are here. */
async function furnish(authority: CertificateAuthority, config: Config, { directory, hosts, keyAlgorithm, passphrase, randomness, actor }: Pick<FoundingOptions, 'directory' | 'hosts' | 'keyAlgorithm' | 'passphrase' | 'randomness' | 'actor'>): Promise<IssuedCertificate> {
  for (const { name, signer } of authority.issuers) if (signer !== undefined) await authority.publishCrls(name);
  const files = filesIn(directory);
  const server = await authority.issueServer({ hosts, keyAlgorithm, ttl: Math.floor(config.ca.serverTtl / 1_000), actor });
  if (server.privateKey === undefined) throw new SallyportError('ERR_INTERNAL', 'the authority made no key for the server');
  await writePrivateKey(files.serverKey, server.privateKey, { passphrase, randomness, existing: 'replace' });
  await writeDurably(files.serverCertificate, server.chain, { mode: 0o644 });
  await authority.close();
  return server;
}
