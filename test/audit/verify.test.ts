import { generateKeyPairSync } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { leafHashOf, storedEntry } from '../../src/audit/entry.ts';
import type { StoredEntry } from '../../src/audit/entry.ts';
import { exportLog, verifyExport } from '../../src/audit/export.ts';
import { rootOfLeaves } from '../../src/audit/merkle.ts';
import { verifyLog } from '../../src/audit/verify.ts';
import { anEvent } from '../support/records.ts';
import { memoryAuditStore } from '../support/memory-audit-store.ts';

const signer = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
const { verifierKey } = signer;

const log = (size: number, name = 'tool'): StoredEntry[] => Array.from({ length: size }, (_, at) => storedEntry(anEvent({ name: `${name} ${at}` }), at));
const noteOver = (entries: readonly StoredEntry[]): string => signer.sign({ size: entries.length, root: rootOfLeaves(entries.map(({ leafHash }) => leafHash)) });
/** What somebody does who changes entries and renumbers the rows, but leaves the contents alone. */
const renumbered = (entries: readonly StoredEntry[]): StoredEntry[] => entries.map((entry, index) => ({ ...entry, index }));
const rewritten = (entry: StoredEntry): StoredEntry => {
  const event = entry.event.replace('done', 'denied');
  return { ...entry, event, leafHash: leafHashOf(event) };
};

const entries = log(20);
const evidence = { checkpoints: [noteOver(entries.slice(0, 8)), noteOver(entries)], verifierKey };
const kinds = async (altered: readonly StoredEntry[], facts: Partial<Parameters<typeof verifyLog>[1]> = {}) =>
  (await verifyLog(altered, { ...evidence, ...facts })).findings.map(({ kind, index }) => `${kind} ${index}`);

describe('verification of the log', () => {
  it('finds nothing in a log that is whole, signed or empty', async () => {
    expect(await verifyLog(entries, evidence)).toEqual({ ok: true, size: 20, signedSize: 20, findings: [] });
    expect(await verifyLog([], { checkpoints: [], verifierKey })).toEqual({ ok: true, size: 0, signedSize: 0, findings: [] });
  });

  it('names a changed entry', async () => {
    const changed = entries.with(5, { ...storedEntry(anEvent({ name: 'other' }), 5), leafHash: entries[5]?.leafHash ?? new Uint8Array() });
    const { findings } = await verifyLog(changed, evidence);
    expect(findings).toEqual([{ kind: 'changed', index: 5, message: 'entry 5 was changed: its content does not match the hash it was recorded with' }]);
  });

  it('names the stretch in which an entry and its hash were changed together', async () => {
    const one = entries[12];
    if (one === undefined) throw new Error('no entry');
    const { findings } = await verifyLog(entries.with(12, rewritten(one)), evidence);
    expect(findings).toEqual([
      { kind: 'checkpointMismatch', index: 8, message: 'entries 8 to 19 are not those of the signed checkpoint of size 20: something in them was changed together with its hash' },
    ]);
  });

  it('names removed entries, whether or not the rest were renumbered', async () => {
    expect(await kinds(entries.toSpliced(5, 1))).toEqual(['removed 5']);
    expect(await kinds(renumbered(entries.toSpliced(5, 1)))).toEqual(['removed 5']);
    const { findings } = await verifyLog(renumbered(entries.toSpliced(5, 3)), evidence);
    expect(findings[0]?.message).toBe('entries 5 to 7 were removed');
    expect(await kinds(entries.slice(2))).toEqual(['removed 0']);
  });

  it('names both entries that changed places', async () => {
    const [a, b] = [entries[3], entries[9]];
    if (a === undefined || b === undefined) throw new Error('no entry');
    expect(await kinds(renumbered(entries.with(3, b).with(9, a)))).toEqual(['reordered 3', 'reordered 9']);
  });

  it('names entries that were put in', async () => {
    expect(await kinds(renumbered(entries.toSpliced(4, 0, storedEntry(anEvent(), 4))))).toContain('added 5');
    expect(await kinds([...entries, storedEntry(anEvent(), 20)])).toEqual(['unsigned 20']);
    expect(await kinds([...entries, storedEntry(anEvent(), 1_000_000_000)])).toEqual(['added 1000000000']);
  });

  it('names where a log that was cut ends', async () => {
    const { findings } = await verifyLog(entries.slice(0, 17), evidence);
    expect(findings).toEqual([{ kind: 'truncated', index: 17, message: 'the log ends at index 17, but a checkpoint vouches for 20: 3 entries at the end are missing' }]);
    expect(await kinds([])).toEqual(['truncated 0']);
  });

  it('finds a checkpoint that the log key has not signed', async () => {
    const forger = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
    const forged = forger.sign({ size: 20, root: rootOfLeaves(entries.map(({ leafHash }) => leafHash)) });
    expect(await kinds(entries, { checkpoints: [forged] })).toEqual(['unsigned 0', 'checkpointSignature 20']);
    expect(await kinds(entries, { checkpoints: [noteOver(entries).replace('\n20\n', '\n19\n')] })).toEqual(['unsigned 0', 'checkpointSignature 19']);
  });

  it('finds a store that was rolled back or rewritten, by the checkpoint kept outside it', async () => {
    const older = entries.slice(0, 8);
    const keptCheckpoint = noteOver(entries);
    const { findings } = await verifyLog(older, { checkpoints: [noteOver(older)], verifierKey, keptCheckpoint });
    expect(findings).toEqual([{ kind: 'rolledBack', index: 8, message: 'the store holds 8 entries, but the checkpoint kept outside it vouches for 20: 12 entries were taken back' }]);
    // The log key was in the wrong hands: everything in the store fits together.
    const other = log(25, 'another history');
    expect(await kinds(other, { checkpoints: [noteOver(other)], keptCheckpoint })).toEqual(['rolledBack 0']);
    expect(await kinds(entries, { keptCheckpoint: noteOver(older) })).toEqual([]);
  });

  it('detects every single alteration', async () => {
    type Alter = (entries: readonly StoredEntry[], at: number, other: number) => readonly StoredEntry[] | undefined;
    const alterations: readonly Alter[] = [
      (all, at) => all.toSpliced(at, 1),
      (all, at) => renumbered(all.toSpliced(at, 1)),
      (all, at) => all.slice(0, at),
      (all, at, other) => (at === other ? undefined : renumbered(all.with(at, all[other] ?? storedEntry(anEvent(), 0)).with(other, all[at] ?? storedEntry(anEvent(), 0)))),
      (all, at) => all.with(at, rewritten(all[at] ?? storedEntry(anEvent(), 0))),
      (all, at) => renumbered(all.toSpliced(at, 0, all[at] ?? storedEntry(anEvent(), 0))),
      (all, at) => all.with(at, { ...(all[at] ?? storedEntry(anEvent(), 0)), leafHash: new Uint8Array(32) }),
      (all, at) => all.with(at, { ...(all[at] ?? storedEntry(anEvent(), 0)), event: '{}' }),
      (all, at, other) => (at === other ? undefined : all.with(at, { ...(all[other] ?? storedEntry(anEvent(), 0)), index: at })),
    ];
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 40 }), fc.nat(), fc.nat(), fc.constantFrom(...alterations), async (size, at, other, alter) => {
        const all = log(size);
        const altered = alter(all, at % size, other % size);
        if (altered === undefined) return;
        const verification = await verifyLog(altered, { checkpoints: [noteOver(all.slice(0, Math.ceil(size / 2))), noteOver(all)], verifierKey });
        expect(verification.ok).toBe(false);
      }),
      { numRuns: 300 },
    );
  });
});

describe('export', () => {
  const lines = async (): Promise<string[]> => {
    const store = memoryAuditStore(signer);
    await store.append(Array.from({ length: 6 }, (_, at) => anEvent({ name: `tool ${at}`, detail: { text: 'ü\u0000"\\', n: 1.5, none: null, list: ['b', 'a'] } })));
    const exported: string[] = [];
    for await (const line of exportLog(store, { origin: signer.origin, verifierKey })) exported.push(line);
    return exported;
  };

  it('verifies offline, against the key the verifier knows or the one inside', async () => {
    const exported = await lines();
    expect(exported.length).toBe(7);
    expect(exported.every((line) => JSON.stringify(JSON.parse(line)) === line)).toBe(true);
    expect(await verifyExport(exported, verifierKey)).toEqual({ ok: true, size: 6, signedSize: 6, findings: [], origin: 'acme/audit', verifierKey, keyTrusted: true });
    expect(await verifyExport([...exported, ''])).toMatchObject({ ok: true, keyTrusted: false });
  });

  it('is refused under another key', async () => {
    const other = createCheckpointSigner({ origin: 'acme/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
    expect((await verifyExport(await lines(), other.verifierKey)).findings.map(({ kind }) => kind)).toEqual(['unsigned', 'checkpointSignature']);
  });

  it('tells which line was changed, taken out or spoiled', async () => {
    const exported = await lines();
    const found = async (altered: readonly string[]) => (await verifyExport(altered, verifierKey)).findings.map(({ kind, index }) => `${kind} ${index}`);
    expect(await found(exported.with(3, exported[3]?.replace('tool 2', 'tool 9') ?? ''))).toEqual(['changed 2']);
    expect(await found(exported.toSpliced(3, 1))).toEqual(['removed 2']);
    expect(await found(exported.slice(0, -1))).toEqual(['truncated 5']);
    expect(await found(exported.with(3, 'not json'))).toEqual(['changed 2', 'removed 2']);
  });

  it('answers any text with findings or a coded error', async () => {
    const [header] = await lines();
    await expect(verifyExport([])).rejects.toMatchObject({ code: 'ERR_AUDIT_TAMPERED' });
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (line) => {
        await expect(verifyExport([line])).rejects.toMatchObject({ code: 'ERR_AUDIT_TAMPERED' });
        expect((await verifyExport([header ?? '', line], verifierKey)).ok).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});
