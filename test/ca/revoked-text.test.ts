import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RevokedText } from '../../ca/revoked-text.ts';
import { revocationReasons } from '../../ca/revocation.ts';

const entry = fc.record({
  serial: fc.uint8Array({ minLength: 1, maxLength: 20 }).map((octets) => Buffer.from(octets).toString('hex')),
  revokedAt: fc.nat(4_000_000_000),
  reason: fc.constantFrom(...revocationReasons),
  notAfter: fc.nat(4_000_000_000),
});
const read = (page: string): readonly object[] => {
  const entries: object[] = [];
  for (const text = new RevokedText(Buffer.from(page)); text.next(); ) {
    const { revokedAt, reason, notAfter } = text;
    entries.push({ serial: Buffer.from(text.serial).toString('hex'), revokedAt, reason, notAfter });
  }
  return entries;
};

describe('the text of revoked certificates', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 20 }), (entries) => {
        expect(read(entries.map(({ serial, revokedAt, reason, notAfter }) => `${serial},${revokedAt},${reason},${notAfter};`).join(''))).toEqual(entries);
      }),
      { numRuns: 100 },
    );
  });
  it('is refused when anything is wrong with it, and never read for ever', () => {
    const good = '01ab,5,keyCompromise,7;';
    for (let cut = 1; cut < good.length; cut++) expect(() => read(good.slice(0, cut)), String(cut)).toThrow(TypeError);
    for (const page of ['01AB,5,superseded,7;', '1ab,5,superseded,7;', ',5,superseded,7;', '01,,superseded,7;', '01,5,,7;', '01,5,removeFromCRL,7;', '01,-5,superseded,7;', '01,5,superseded,7,', `${'01'.repeat(21)},5,superseded,7;`]) expect(() => read(page), page).toThrow(TypeError);
    fc.assert(fc.property(fc.string(), (page) => { try { read(page); } catch (error) { expect(error).toBeInstanceOf(TypeError); } }), { numRuns: 100 });
  });
});
