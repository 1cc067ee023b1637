import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { codeOf } from '../../src/errors.ts';
import { hasClientCert, readClientCert } from '../../src/gateway/client-cert.ts';

const item = (octets: Uint8Array): string => `:${Buffer.from(octets).toString('base64')}:`;
const octets = fc.uint8Array({ minLength: 1, maxLength: 300 });
const outcome = (read: () => unknown): string => {
  try {
    return JSON.stringify(read()) ?? 'nothing';
  } catch (error) {
    return `${codeOf(error)}: ${(error as Error).message}`;
  }
};

describe('Client-Cert', () => {
  it('is read as it was written, with its chain', () => {
    fc.assert(fc.property(octets, fc.array(octets, { minLength: 1, maxLength: 8 }), fc.constantFrom(',', ', ', ' ,\t'), (certificate, chain, comma) => {
      expect(readClientCert({ 'client-cert': item(certificate), 'client-cert-chain': chain.map(item).join(comma) })).toEqual({ certificate, chain });
    }), { numRuns: 100 });
    expect(readClientCert({ 'client-cert': ':AA==:' })).toEqual({ certificate: Uint8Array.of(0), chain: [] });
    expect([readClientCert({}), hasClientCert({}), hasClientCert({ 'client-cert-chain': '' })]).toEqual([undefined, false, true]);
  });

  it.each<[string, string]>([
    ['nothing', ''], ['no colons', 'AA=='], ['one colon', ':AA=='], ['no octets', '::'], ['a text', '"AA=="'], ['PEM', '-----BEGIN CERTIFICATE-----'], ['an escape', ':AA%3D%3D:'],
    ['white space in it', ':AA ==:'], ['a parameter', ':AA==:;a=1'], ['two of them', ':AA==:, :AA==:'], ['base64url', ':-_8=:'], ['no padding', ':AA:'], ['bits left over', ':AB==:'], ['too much padding', ':AAA==:'], ['a line end', ':AAAA\n:'],
  ])('is refused with %s', (_what, text) => {
    expect(outcome(() => readClientCert({ 'client-cert': text }))).toMatch(/^ERR_HTTP_CLIENT_CERT: the client-cert header cannot be read: it is not (a byte sequence such as :MIIB…:|base64 in its canonical form)$/);
  });

  it('is refused when it is too long, and its chain when it is too long, stands alone or has a hole', () => {
    expect(outcome(() => readClientCert({ 'client-cert': `:${'A'.repeat(16_384)}:` }))).toBe('ERR_HTTP_CLIENT_CERT: the client-cert header cannot be read: it is too long');
    expect(outcome(() => readClientCert({ 'client-cert': ':AA==:', 'client-cert-chain': Array.from({ length: 9 }, () => ':AA==:').join() }))).toMatch(/client-cert-chain header cannot be read: it holds more than 8 certificates$/);
    expect(outcome(() => readClientCert({ 'client-cert-chain': ':AA==:' }))).toMatch(/it stands alone, without Client-Cert$/);
    expect(outcome(() => readClientCert({ 'client-cert': ':AA==:', 'client-cert-chain': ':AA==:,,:AA==:' }))).toMatch(/client-cert-chain header cannot be read: it is not a byte sequence/);
  });

  it('reads any text as one certificate or not at all, within bounds', () => {
    const text = fc.oneof(fc.string({ maxLength: 40 }), octets.map(item), fc.tuple(octets, fc.string({ maxLength: 3 }), fc.nat(40)).map(([bytes, junk, at]) => item(bytes).slice(0, at) + junk + item(bytes).slice(at)));
    fc.assert(fc.property(text, fc.option(text), (certificate, chain) => {
      const headers = { 'client-cert': certificate, ...(chain === null ? {} : { 'client-cert-chain': chain }) };
      try {
        const read = readClientCert(headers);
        expect(item(read?.certificate ?? new Uint8Array())).toBe(certificate);
        expect(read?.chain.length ?? 0).toBeLessThanOrEqual(8);
      } catch (error) {
        expect(codeOf(error)).toBe('ERR_HTTP_CLIENT_CERT');
      }
    }), { numRuns: 100 });
  });
});
