/** A store of whatever database is under test, and how its contracts look at it. */
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, expect } from 'vitest';
import type { CertificateRecord } from '../../ca/ports.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { readEvent } from '../../src/audit/entry.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { noon } from '../support/records.ts';

export interface StoreUnderTest {
  /** Address of an empty store. */
  createUrl(): Promise<string>;
  /** Runs SQL as somebody who has the database but is not Sallyport. */
  execute(url: string, sql: string): Promise<void>;
  /** A trigger that refuses the audit entries whose text contains `text`. */
  refuseEntriesWith(url: string, text: string): Promise<void>;
}

export interface OpenStores {
  /** A new store. */
  open(): Promise<Store>;
  openAt(url: string, signed?: boolean): Promise<Store>;
}

export const clock = { now: () => noon };

/** Within a `describe`: what a test of it opens is closed after that test. */
export const storesOf = (underTest: StoreUnderTest): OpenStores => {
  const opened: Store[] = [];
  const openAt = async (url: string, signed = true): Promise<Store> => {
    const store = await openStore(url, { clock, ...(signed && { checkpointSigner: signer }) });
    opened.push(store);
    return store;
  };
  afterEach(async () => {
    for (const store of opened.splice(0)) await store.close();
  });
  return { openAt, open: async () => openAt(await underTest.createUrl()) };
};

export const one = async (store: Store, serial: string): Promise<CertificateRecord | undefined> => (await store.ca.findCertificates({ serial }))[0];

/** Of all audit entries, in order. */
export const actions = async (store: Store): Promise<readonly (string | undefined)[]> => (await store.audit.read({ from: 0, limit: 1_000 })).map(({ event }) => readEvent(event)?.action);

export const eventually = async (condition: () => boolean): Promise<void> => {
  const until = Date.now() + 10_000;
  while (!condition() && Date.now() < until)
    await new Promise((resolve) => {
      setTimeout(resolve, 2);
    });
  expect(condition()).toBe(true);
};

/** Octets compare equal whether they are a Buffer or a Uint8Array. */
export const plain = (value: object | undefined): object => Object.fromEntries(Object.entries(value ?? {}).map(([key, member]) => [key, member instanceof Uint8Array ? [...member] : member]));

export const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
