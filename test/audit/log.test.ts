import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CheckpointKeeper, keepCheckpoint, readKeptCheckpoint } from '../../src/audit/checkpoint-file.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { canonicalEvent, readEvent } from '../../src/audit/entry.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { emptyRoot } from '../../src/audit/merkle.ts';
import { memoryAuditStore } from '../support/memory-audit-store.ts';
import { anEvent } from '../support/records.ts';

const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
const until = async (condition: () => boolean): Promise<void> => {
  for (let tries = 0; !condition() && tries < 2_000; tries += 1)
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  expect(condition()).toBe(true);
};

describe('entry', () => {
  it('has one canonical form: sorted, without what is undefined, with its index', () => {
    expect(canonicalEvent(anEvent({ reason: undefined, name: 'ü', detail: { b: 1, a: ['x'] } }), 7)).toBe(
      '{"action":"certificate.issued","actor":"cli:test","detail":{"a":["x"],"b":1},"index":7,"name":"ü","outcome":"done","time":"2026-11-20T12:00:00.000Z"}',
    );
  });

  it('is read back only when it is an event', () => {
    expect(readEvent(canonicalEvent(anEvent(), 3))).toMatchObject({ action: 'certificate.issued', index: 3 });
    for (const text of ['', 'null', '[]', '{}', '{"action":1}', '"x"']) expect(readEvent(text)).toBeUndefined();
  });
});

describe('audit log', () => {
  it('has a recorded event in the store when the promise resolves', async () => {
    const store = memoryAuditStore(signer);
    const notes: string[] = [];
    const log = new AuditLog(store, { onCheckpoint: (note) => notes.push(note) });
    await log.record(anEvent({ name: 'one' }));
    expect(store.entries.length).toBe(1);
    expect(notes).toEqual([await store.latestCheckpoint()]);
    await log.close();
  });

  it('gathers enqueued events and writes them within the delay, in order', async () => {
    const store = memoryAuditStore();
    const log = new AuditLog(store, { maxDelayMs: 10 });
    for (let at = 0; at < 5; at += 1) log.enqueue(anEvent({ name: `call ${at}` }));
    expect(store.entries.length).toBe(0);
    await until(() => store.entries.length === 5);
    expect(store.appends).toEqual([5]);
    expect(store.entries.map(({ event }) => readEvent(event)?.name)).toEqual(['call 0', 'call 1', 'call 2', 'call 3', 'call 4']);
    await log.close();
  });

  it('writes at once when a batch is full, and never more than a batch', async () => {
    const store = memoryAuditStore();
    const log = new AuditLog(store, { maxDelayMs: 60_000, maxBatch: 3 });
    for (let at = 0; at < 7; at += 1) log.enqueue(anEvent());
    await log.flush();
    expect(store.appends).toEqual([3, 3, 1]);
    expect(log.waiting).toBe(0);
    await log.close();
  });

  it('is unavailable from the first failed write until one succeeds, and loses nothing meanwhile', async () => {
    const store = memoryAuditStore();
    const told: boolean[] = [];
    const log = new AuditLog(store, { maxDelayMs: 1, onAvailability: (error) => told.push(error === undefined) });
    store.fail(new Error('disk full'));
    log.enqueue(anEvent({ name: 'kept' }));
    await expect(log.flush()).rejects.toMatchObject({ code: 'ERR_AUDIT_UNAVAILABLE' });
    expect(log.available).toBe(false);
    log.enqueue(anEvent({ name: 'kept too' }));
    await expect(log.record(anEvent({ name: 'refused' }))).rejects.toMatchObject({ code: 'ERR_AUDIT_UNAVAILABLE', cause: expect.objectContaining({ message: 'disk full' }) as Error });
    expect(log.waiting).toBe(2);
    store.fail(undefined);
    await until(() => log.available && log.waiting === 0);
    expect(store.entries.map(({ event }) => readEvent(event)?.name)).toEqual(['kept', 'kept too']);
    expect(told).toEqual([false, true]);
    await log.close();
  });

  it('finds out by itself that the store is back when nothing waits', async () => {
    const store = memoryAuditStore();
    const log = new AuditLog(store);
    store.fail(new Error('away'));
    await expect(log.record(anEvent())).rejects.toMatchObject({ code: 'ERR_AUDIT_UNAVAILABLE' });
    store.fail(undefined);
    await until(() => log.available);
    expect(store.entries.map(({ event }) => readEvent(event)?.action)).toEqual(['audit.resumed']);
    await log.close();
  });

  it('refuses more than it can keep', async () => {
    const store = memoryAuditStore();
    store.fail(new Error('away'));
    const log = new AuditLog(store, { maxWaiting: 2, maxDelayMs: 60_000 });
    log.enqueue(anEvent());
    log.enqueue(anEvent());
    expect(() => log.enqueue(anEvent())).toThrow(expect.objectContaining({ code: 'ERR_AUDIT_UNAVAILABLE' }));
    await expect(log.close()).rejects.toMatchObject({ code: 'ERR_AUDIT_UNAVAILABLE', facts: { lost: 2 } });
  });

  it('writes what waits when it closes, and takes nothing afterwards', async () => {
    const store = memoryAuditStore();
    const log = new AuditLog(store, { maxDelayMs: 60_000 });
    log.enqueue(anEvent());
    await log.close();
    expect(store.entries.length).toBe(1);
    expect(() => log.enqueue(anEvent())).toThrow(expect.objectContaining({ code: 'ERR_AUDIT_UNAVAILABLE' }));
    await log.close();
  });
});

describe('checkpoint kept outside the store', () => {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'sallyport-checkpoint-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true, force: true });
  });
  const note = (size: number): string => signer.sign({ size, root: emptyRoot });

  it('only ever moves forward', async () => {
    const path = join(directory, 'audit.checkpoint');
    expect(await readKeptCheckpoint(path)).toBeUndefined();
    await keepCheckpoint(path, note(5));
    await keepCheckpoint(path, note(4));
    expect(await readKeptCheckpoint(path)).toBe(note(5));
    await keepCheckpoint(path, note(6));
    expect(readFileSync(path, 'utf8')).toBe(note(6));
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('keeps the newest of many, and reports what it cannot write', async () => {
    const path = join(directory, 'audit.checkpoint');
    const errors: unknown[] = [];
    const keeper = new CheckpointKeeper(path, { onError: (error) => errors.push(error), everyMs: 1 });
    for (let size = 1; size < 50; size += 1) keeper.offer(note(size));
    await keeper.close();
    expect(await readKeptCheckpoint(path)).toBe(note(49));
    const lost = new CheckpointKeeper(join(directory, 'nowhere', 'audit.checkpoint'), { onError: (error) => errors.push(error) });
    lost.offer(note(1));
    await lost.close();
    expect(errors).toEqual([expect.objectContaining({ code: 'ERR_AUDIT_UNAVAILABLE' })]);
  });
});
