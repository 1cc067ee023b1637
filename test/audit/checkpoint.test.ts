import { generateKeyPairSync } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createCheckpointSigner, parseCheckpoint, verifierKeyOf, verifyCheckpoint, verifyNote } from '../../src/audit/checkpoint.ts';
import { emptyRoot } from '../../src/audit/merkle.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const signer = createCheckpointSigner({ origin: 'acme.internal/audit', privateKey });
const root = new Uint8Array(32).fill(7);

describe('checkpoint', () => {
  it('verifies the example note of golang.org/x/mod/sumdb/note', () => {
    const note =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const key = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW';
    expect(verifyNote(note, key)).toEqual({ ok: true, text: note.slice(0, note.indexOf('\n\n') + 1) });
    expect(verifyCheckpoint(note, key)).toEqual({ ok: false, problem: 'the signed text is not a checkpoint' });
  });

  it('has the form of tlog-checkpoint, and verifies', () => {
    const note = signer.sign({ size: 12, root });
    expect(note).toMatch(/^acme\.internal\/audit\n12\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n\u2014 acme\.internal\/audit [A-Za-z0-9+/]{91}=\n$/);
    expect(verifyCheckpoint(note, signer.verifierKey)).toEqual({ ok: true, checkpoint: { origin: 'acme.internal/audit', size: 12, root } });
    expect(signer.verifierKey).toMatch(/^acme\.internal\/audit\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}$/);
    expect(verifierKeyOf('acme.internal/audit', publicKey)).toBe(signer.verifierKey);
  });

  it('passes over the signature of a witness and still demands ours', () => {
    const note = signer.sign({ size: 0, root: emptyRoot });
    const witness = '\u2014 witness.example AAAAAAECAwQ=\n';
    expect(verifyCheckpoint(`${note}${witness}`, signer.verifierKey).ok).toBe(true);
    expect(verifyCheckpoint(`${note.slice(0, note.indexOf('\n\n') + 2)}${witness}`, signer.verifierKey)).toEqual({ ok: false, problem: 'no signature by the log key' });
  });

  it('refuses a note of another key, and one of another log under the same key', () => {
    const other = createCheckpointSigner({ origin: 'acme.internal/audit', privateKey: generateKeyPairSync('ed25519').privateKey });
    expect(verifyCheckpoint(other.sign({ size: 1, root }), signer.verifierKey)).toEqual({ ok: false, problem: 'no signature by the log key' });
    const renamed = createCheckpointSigner({ origin: 'other/audit', privateKey });
    expect(verifyCheckpoint(renamed.sign({ size: 1, root }), signer.verifierKey).ok).toBe(false);
  });

  it('refuses a note with any one character changed', () => {
    const note = signer.sign({ size: 345, root });
    fc.assert(
      fc.property(fc.nat(note.length - 1), fc.constantFrom('0', 'A', 'x', '\n', ' ', '='), (at, character) => {
        const changed = note.slice(0, at) + character + note.slice(at + 1);
        if (changed !== note) expect(verifyCheckpoint(changed, signer.verifierKey).ok).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('answers any text without throwing', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.array(fc.constantFrom('\n', '\n\n', '\u2014 a b', 'acme', '1', '00', '-1')).map((parts) => parts.join('\n'))), (text) => {
        expect(verifyCheckpoint(text, signer.verifierKey).ok).toBe(false);
      }),
      { numRuns: 300 },
    );
  });

  it('reads sizes without leading zeroes and roots of 32 octets only', () => {
    const text = (size: string, hash = Buffer.from(root).toString('base64')) => `acme\n${size}\n${hash}\n`;
    expect(parseCheckpoint(text('0'))?.size).toBe(0);
    for (const bad of [text('01'), text('-1'), text('1e3'), text('99999999999999999'), text('1', 'AAAA'), '\n1\nAAAA\n', 'acme\n1']) expect(parseCheckpoint(bad)).toBeUndefined();
  });

  it('signs with an Ed25519 key under a usable name only, and says what is wrong with a verifier key', () => {
    const rsa = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    expect(() => createCheckpointSigner({ origin: 'a', privateKey: rsa })).toThrow(expect.objectContaining({ code: 'ERR_AUDIT_KEY' }));
    for (const origin of ['', 'a b', 'a+b', 'a\n']) expect(() => createCheckpointSigner({ origin, privateKey })).toThrow(expect.objectContaining({ code: 'ERR_AUDIT_KEY' }));
    for (const key of ['', 'a+b+c', signer.verifierKey.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')), signer.verifierKey.replace('acme', 'bcme')]) {
      expect(() => verifyCheckpoint(signer.sign({ size: 1, root }), key)).toThrow(expect.objectContaining({ code: 'ERR_AUDIT_KEY' }));
    }
  });
});
