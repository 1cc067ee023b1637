import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Sealer } from '../../src/mcp/sealing.ts';
import { systemRandomness as randomness } from '../../src/system.ts';

const key = new Uint8Array(32).fill(1);
const otherKey = new Uint8Array(32).fill(2);
const sealer = new Sealer({ key, randomness });

describe('sealed texts', () => {
  test('open with the kind and binding they were sealed with', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string({ unit: 'grapheme' }), (kind, binding, value) => {
        const sealed = sealer.seal(kind, binding, value);
        expect(sealed).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(sealer.open(kind, binding, sealed)).toBe(value);
        expect(sealer.open(`${kind}x`, binding, sealed)).toBeUndefined();
        expect(sealer.open(kind, `${binding}x`, sealed)).toBeUndefined();
      }),
      { numRuns: 100 },
    );
  });

  test('kind and binding cannot be shifted into each other', () => {
    expect(sealer.open('ab', 'c', sealer.seal('a', 'bc', 'x'))).toBeUndefined();
    expect(sealer.open('', 'abc', sealer.seal('abc', '', 'x'))).toBeUndefined();
  });

  test('two of one value differ', () => {
    expect(sealer.seal('k', 'b', 'x')).not.toBe(sealer.seal('k', 'b', 'x'));
  });

  test('that are stable are the same for one value, and for nothing else', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string({ unit: 'grapheme' }), (kind, binding, value) => {
        const sealed = sealer.sealStable(kind, binding, value);
        expect(sealer.sealStable(kind, binding, value)).toBe(sealed);
        expect(new Sealer({ key, randomness }).sealStable(kind, binding, value)).toBe(sealed);
        expect(sealer.openStable(kind, binding, sealed)).toBe(value);
        expect(sealer.openStable(kind, `${binding}x`, sealed)).toBeUndefined();
        // Neither kind of text is the other.
        expect(sealer.open(kind, binding, sealed)).toBeUndefined();
        expect(sealer.openStable(kind, binding, sealer.seal(kind, binding, value))).toBeUndefined();
        const nonces = [sealed, sealer.sealStable(kind, binding, `${value}x`), sealer.sealStable(kind, `${binding}x`, value), sealer.sealStable(`${kind}x`, binding, value)].map((text) => Buffer.from(text, 'base64url').subarray(0, 12).toString('hex'));
        expect(new Set(nonces).size).toBe(4);
      }),
      { numRuns: 50 },
    );
    expect(sealer.sealStable('k', 'b', 'x')).not.toBe(new Sealer({ key: otherKey, randomness }).sealStable('k', 'b', 'x'));
    expect(sealer.sealStable('a', 'bc', 'x')).not.toBe(sealer.sealStable('ab', 'c', 'x'));
  });

  test('that are stable close with any changed character', () => {
    const sealed = sealer.sealStable('k', 'b', 'value');
    for (let index = 0; index < sealed.length; index += 1) {
      const changed = sealed.slice(0, index) + (sealed[index] === 'A' ? 'B' : 'A') + sealed.slice(index + 1);
      expect(sealer.openStable('k', 'b', changed)).toBeUndefined();
    }
  });

  test('any changed character closes them', () => {
    const sealed = sealer.seal('k', 'b', 'value');
    for (let index = 0; index < sealed.length; index += 1) {
      const changed = sealed.slice(0, index) + (sealed[index] === 'A' ? 'B' : 'A') + sealed.slice(index + 1);
      expect(sealer.open('k', 'b', changed)).toBeUndefined();
    }
  });

  test('only the exact spelling opens', () => {
    const sealed = sealer.seal('k', 'b', 'value!!');
    for (const spelling of [`${sealed}=`, `${sealed}\n`, ` ${sealed}`, `${sealed}A`, sealed.slice(0, -1), `${sealed.slice(0, 8)}.${sealed.slice(8)}`]) expect(sealer.open('k', 'b', spelling)).toBeUndefined();
  });

  test('any other text opens to nothing', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.base64String(), fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes).toString('base64url'))), (text) => sealer.open('k', 'b', text) === undefined && sealer.openStable('k', 'b', text) === undefined), { numRuns: 200 });
  });
});

describe('keys', () => {
  test('another process with the key opens them, and one without does not', () => {
    const sealed = sealer.seal('k', 'b', 'x');
    expect(new Sealer({ key, randomness }).open('k', 'b', sealed)).toBe('x');
    expect(new Sealer({ key: otherKey, randomness }).open('k', 'b', sealed)).toBeUndefined();
  });

  test('after a rotation the previous key opens and no longer seals', () => {
    const rotated = new Sealer({ key: otherKey, previousKeys: [key], randomness });
    expect(rotated.open('k', 'b', sealer.seal('k', 'b', 'old'))).toBe('old');
    expect(rotated.openStable('k', 'b', sealer.sealStable('k', 'b', 'old'))).toBe('old');
    expect(sealer.open('k', 'b', rotated.seal('k', 'b', 'new'))).toBeUndefined();
    expect(rotated.open('k', 'b', rotated.seal('k', 'b', 'new'))).toBe('new');
  });

  test('every day texts are sealed with another one, and those of yesterday open', () => {
    const clock = { ms: 0, now: () => new Date(clock.ms) };
    const daily = new Sealer({ key, randomness, clock });
    const saltOf = (text: string) => Buffer.from(text, 'base64url').subarray(0, 16).toString('hex');
    const first = daily.seal('k', 'b', 'x');
    clock.ms += 86_399_999;
    expect(saltOf(daily.seal('k', 'b', 'x'))).toBe(saltOf(first));
    clock.ms += 1;
    expect(saltOf(daily.seal('k', 'b', 'x'))).not.toBe(saltOf(first));
    expect(daily.open('k', 'b', first)).toBe('x');
  });

  test('forged texts with many salts do not close what was sealed before', () => {
    const own = new Sealer({ key, randomness });
    const sealed = own.seal('k', 'b', 'x');
    for (let index = 0; index < 200; index += 1) expect(own.open('k', 'b', Buffer.from(randomness.bytes(60)).toString('base64url'))).toBeUndefined();
    expect(own.open('k', 'b', sealed)).toBe('x');
    expect(own.open('k', 'b', own.seal('k', 'b', 'y'))).toBe('y');
  });

  test('a key of another length is a TypeError', () => {
    expect(() => new Sealer({ key: new Uint8Array(16), randomness })).toThrow(TypeError);
    expect(() => new Sealer({ key, previousKeys: [new Uint8Array(31)], randomness })).toThrow(TypeError);
  });
});
