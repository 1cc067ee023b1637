/** A data directory opened: configuration, store, authority, and the key of the audit log. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyObject } from 'node:crypto';
import type { AuthorityOptions } from '../../ca/authority-options.ts';
import { hierarchyFile } from '../../ca/hierarchy-files.ts';
import { CertificateAuthority, readPrivateKey } from '../../ca/index.ts';
import type { Clock, Randomness } from '../../ca/ports.ts';
import type { ProfileConfig } from '../../ca/profile.ts';
import { createCheckpointSigner } from '../audit/checkpoint.ts';
import type { CheckpointSigner } from '../audit/checkpoint.ts';
import { keepCheckpoint } from '../audit/checkpoint-file.ts';
import { formatDuration } from '../config/duration.ts';
import { loadConfig, withoutUndefined } from '../config/load.ts';
import type { Config } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { openStore } from '../store/open-store.ts';
import type { Store } from '../store/store.ts';

/** Where things are in a data directory. */
export const filesIn = (directory: string) =>
  ({
    /** Which CAs there are; absent until the first rotation. */
    hierarchy: hierarchyFile(directory),
    /** Leaf, then issuing CA. */
    serverCertificate: join(directory, 'certs', 'server.cert.pem'),
    serverKey: join(directory, 'keys', 'server.key.pem'),
    /** While the certificate is exchanged: the key of the one that comes. */
    serverNextKey: join(directory, 'keys', 'server.next.key.pem'),
    serverRenewalLock: join(directory, 'certs', 'server.renewal.lock'),
    /** Signs what upstreams learn about callers. Made when it is first needed. */
    identityKey: join(directory, 'keys', 'identity.key.pem'),
    /** Seals what comes back. Made when it is first needed. */
    sealingKey: join(directory, 'keys', 'sealing.key.pem'),
    /** MAC keys of external accounts are drawn from it. Made when it is first needed. */
    acmeKey: join(directory, 'keys', 'acme.key.pem'),
    auditKey: join(directory, 'keys', 'audit.key.pem'),
    /** What verifies the audit log: give copies to those who must not have to trust this machine. */
    auditVerifierKey: join(directory, 'audit.vkey'),
    /** The latest checkpoint, outside the store. */
    auditCheckpoint: join(directory, 'audit.checkpoint'),
  }) as const;

/** Name of the audit log and of its key. */
export const auditOrigin = (trustDomain: string): string => `${trustDomain}/sallyport-audit`;

export interface World {
  readonly clock: Clock;
  readonly randomness: Randomness;
}

export interface OpenDeploymentOptions extends World {
  readonly passphrase?: string | undefined;
  readonly onBackgroundError?: (error: unknown) => void;
  /** Besides those of the configuration. */
  readonly furtherProfiles?: Readonly<Record<string, ProfileConfig>>;
}

export interface Deployment {
  readonly config: Config;
  readonly store: Store;
  readonly authority: CertificateAuthority;
  readonly checkpointSigner: CheckpointSigner;
  /** Publishes CRLs that revocations wait for, keeps the latest checkpoint outside the store, closes everything. */
  close(): Promise<void>;
}

/** For what changes something. `ERR_CONFIG_MISSING`, `ERR_CA_MISSING`, `ERR_KEY_PASSPHRASE` and the like say what is wrong. */
export async function openDeployment(directory: string, options: OpenDeploymentOptions): Promise<Deployment> {
  const config = await loadConfig(directory);
  const checkpointSigner = await readAuditSigner(config, options.passphrase);
  const store = await openStore(config.storeUrl, { clock: options.clock, checkpointSigner });
  try {
    const authority = await CertificateAuthority.load({
      directory: config.directory,
      passphrase: options.passphrase,
      ...withProfiles(authorityOptions(config, store, options), options.furtherProfiles),
      ...(options.onBackgroundError === undefined ? {} : { onBackgroundError: options.onBackgroundError }),
    });
    return {
      config,
      store,
      authority,
      checkpointSigner,
      close: async () => {
        try {
          await authority.close();
          await keepLatestCheckpoint(config.directory, store);
        } finally {
          await store.close();
        }
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** For what only reads: no key is opened, so no passphrase is needed. */
export async function openForReading(directory: string, clock: Clock): Promise<{ readonly config: Config; readonly store: Store; close(): Promise<void> }> {
  const config = await loadConfig(directory);
  const store = await openStore(config.storeUrl, { clock });
  return { config, store, close: () => store.close() };
}

/** For what writes to the store and its audit log, and needs no key of a CA. */
export async function openForRecording(directory: string, options: Pick<OpenDeploymentOptions, 'clock' | 'passphrase'>): Promise<{ readonly config: Config; readonly store: Store; close(): Promise<void> }> {
  const config = await loadConfig(directory);
  const store = await openStore(config.storeUrl, { clock: options.clock, checkpointSigner: await readAuditSigner(config, options.passphrase) });
  return {
    config,
    store,
    close: async () => {
      try {
        await keepLatestCheckpoint(config.directory, store);
      } finally {
        await store.close();
      }
    },
  };
}

export function authorityOptions(config: Config, store: Store, world: World): AuthorityOptions {
  const { ca, trustDomain, publicUrl } = config;
  return {
    store: store.ca,
    clock: world.clock,
    randomness: world.randomness,
    trustDomain,
    publicUrl,
    ...profileSettings(config),
    maxLivePerAgent: ca.maxLivePerAgent,
    retireReplaced: ca.retireReplaced === 'never' ? 'never' : inSeconds(ca.retireReplaced),
    ocsp: ca.ocsp,
    renewalGraceSeconds: ca.renewalGrace / 1_000,
    refusedSpkiHashes: ca.refusedKeys,
    requestExpiry: inSeconds(ca.requests.expiry),
    maxPendingRequests: ca.requests.maxPending,
    crlLifetime: inSeconds(ca.crl.lifetime),
    crlPartitions: ca.crl.partitions,
    crlDeltaLifetime: ca.crl.delta ? inSeconds(ca.crl.deltaLifetime) : undefined,
  };
}

const withProfiles = (settings: AuthorityOptions, further: OpenDeploymentOptions['furtherProfiles'] = {}): AuthorityOptions => ({ ...settings, profiles: { ...settings.profiles, ...further } });

/** What the profiles of an authority come from. */
export const profileSettings = ({ ca }: Pick<Config, 'ca'>): Pick<AuthorityOptions, 'profiles' | 'defaultTtl' | 'maxTtl'> => ({
  profiles: Object.fromEntries(Object.entries(ca.profiles).map(([name, profile]) => [name, withoutUndefined(profile)])),
  defaultTtl: inSeconds(ca.defaultTtl),
  maxTtl: inSeconds(ca.maxTtl),
});

export async function keepLatestCheckpoint(directory: string, store: Store): Promise<void> {
  const note = await store.audit.latestCheckpoint();
  if (note !== undefined) await keepCheckpoint(filesIn(directory).auditCheckpoint, note);
}

export async function readVerifierKey(directory: string): Promise<string> {
  const file = filesIn(directory).auditVerifierKey;
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new SallyportError('ERR_AUDIT_KEY', `${file} cannot be read: restore it, or give the verifier key with --key`, { facts: { file }, cause });
  }
}

async function readAuditSigner(config: Config, passphrase: string | undefined): Promise<CheckpointSigner> {
  const file = filesIn(config.directory).auditKey;
  const privateKey: KeyObject = await readPrivateKey(file, { passphrase });
  return createCheckpointSigner({ origin: auditOrigin(config.trustDomain), privateKey });
}

/** The CA writes lifetimes in seconds. */
function inSeconds(millis: number): number {
  const seconds = Math.floor(millis / 1_000);
  if (seconds < 1) throw new SallyportError('ERR_CONFIG_INVALID', `a lifetime of ${formatDuration(millis)} is too short: one second is the least`);
  return seconds;
}
