/** An authority on a real store in a temporary directory, with a clock one can turn. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CertificateAuthority } from '../../ca/authority.ts';
import type { CreateAuthorityOptions } from '../../ca/authority-options.ts';
import { CaError } from '../../ca/errors.ts';
import type { CaErrorCode } from '../../ca/errors.ts';
import type { AuditEvent, CaStore, Clock } from '../../ca/ports.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import type { CsrOptions } from '../../ca/x509/csr.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { verifyStore } from '../../src/audit/verify.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { systemRandomness } from '../../src/system.ts';

/** Real time plus whatever was added. */
export class TurnableClock implements Clock {
  #aheadMs = 0;
  now(): Date {
    return new Date(Date.now() + this.#aheadMs);
  }
  turn(seconds: number): void {
    this.#aheadMs += seconds * 1_000;
  }
}

export interface AuthorityFixture {
  readonly authority: CertificateAuthority;
  readonly directory: string;
  readonly clock: TurnableClock;
  readonly store: Store;
  /** Another authority on the same directory and store, as another process would have. */
  reopen(options?: Partial<CreateAuthorityOptions>): Promise<CertificateAuthority>;
  /** Actions and reasons of the audit log, oldest first. */
  events(): Promise<readonly Pick<AuditEvent, 'action' | 'outcome' | 'reason' | 'agent' | 'actor'>[]>;
  auditIsWhole(): Promise<boolean>;
  close(): Promise<void>;
}

const logKey = generateKeyPairSync('ed25519').privateKey;

export const createAuthority = async (options: Partial<CreateAuthorityOptions> & { readonly wrap?: (store: CaStore) => CaStore } = {}): Promise<AuthorityFixture> => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-ca-'));
  const clock = new TurnableClock();
  const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey: logKey });
  const store = await openStore(`sqlite:${join(directory, 'sallyport.db')}`, { clock, checkpointSigner: signer });
  const settings: CreateAuthorityOptions = {
    directory,
    name: 'Acme',
    trustDomain: 'acme.internal',
    store: options.wrap?.(store.ca) ?? store.ca,
    clock,
    randomness: systemRandomness,
    onBackgroundError: (error) => {
      throw error;
    },
    ...options,
  };
  const authority = await CertificateAuthority.create(settings);
  const opened = [authority];
  return {
    authority,
    directory,
    clock,
    store,
    reopen: async (changes = {}) => {
      const another = await CertificateAuthority.load({ ...settings, ...changes, directory });
      opened.push(another);
      return another;
    },
    events: async () => (await store.audit.read({ from: 0, limit: 10_000 })).map((entry) => JSON.parse(entry.event) as AuditEvent),
    auditIsWhole: async () => (await verifyStore(store.audit, { verifierKey: signer.verifierKey })).ok,
    close: async () => {
      for (const each of opened) await each.close();
      await store.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

export const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

/** A request for a new P-256 key. */
export const newCsr = (options: CsrOptions = {}): Uint8Array => createCsr(newKey(), options);

/** The code of the `CaError` a call is refused with. */
export const codeOfRefusal = async (call: Promise<unknown> | (() => unknown)): Promise<CaErrorCode | undefined> => {
  try {
    await (typeof call === 'function' ? call() : call);
    return undefined;
  } catch (error) {
    if (error instanceof CaError) return error.code;
    throw error;
  }
};

