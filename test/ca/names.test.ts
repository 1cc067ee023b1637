import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '../../ca/duration.ts';
import { createTokenText, isTokenFor, parseToken } from '../../ca/enrollment.ts';
import { CaError } from '../../ca/errors.ts';
import { checkAgentName, checkAttributeText, checkHosts, checkOrganizationalUnits, checkTrustDomain } from '../../ca/subject-rules.ts';
import { systemRandomness } from '../../src/system.ts';
import { codeOfRefusal } from '../support/authority.ts';

describe('agent names', () => {
  it.each(['a', 'agent-7', 'ops.eu_1', 'A'.repeat(64), '7'])('takes %j', (name) => {
    expect(checkAgentName(name)).toBe(name);
  });
  it.each(['', '.', '..', '-a', 'a b', 'a/b', 'ä', 'a\u0000', 'ca:root', 'a'.repeat(65), 'a\n'])('refuses %j', async (name) => {
    expect(await codeOfRefusal(() => checkAgentName(name))).toBe('ERR_CA_NAME');
  });
});

describe('trust domains', () => {
  it.each(['acme.internal', 'a', 'corp_1.example', `${'a'.repeat(63)}.b`])('takes %j', (name) => {
    expect(checkTrustDomain(name)).toBe(name);
  });
  it.each(['', 'Acme.internal', 'a..b', '.a', 'a.', '10.0.0.1', 'a/b', `${'a.'.repeat(128)}a`, 'spiffe://a', '-a'])('refuses %j', async (name) => {
    expect(await codeOfRefusal(() => checkTrustDomain(name))).toBe('ERR_CA_NAME');
  });
});

describe('organizational units', () => {
  it('takes 64 characters of any script and refuses 65', async () => {
    expect(checkOrganizationalUnits(['ü'.repeat(64), 'data science', '解析'])).toHaveLength(3);
    expect(await codeOfRefusal(() => checkOrganizationalUnits(['ü'.repeat(65)]))).toBe('ERR_CA_NAME');
  });
  it.each([
    ['a control character', 'a\u0007b'],
    ['a NUL', 'a\u0000'],
    ['an invisible character', 'admin\u200b'],
    ['a right-to-left override', '\u202enimda'],
    ['a decomposed letter', 'u\u0308'],
    ['a surrounding blank', ' a'],
    ['a repeated blank', 'a  b'],
    ['a no-break space', 'a\u00a0b'],
    ['nothing', ''],
    ['half a surrogate pair', '\ud800'],
  ])('refuses one with %s', async (_, unit) => {
    expect(await codeOfRefusal(() => checkAttributeText(unit, 'organizational unit'))).toBe('ERR_CA_NAME');
  });
  it('refuses one given twice and more than sixteen', async () => {
    expect(await codeOfRefusal(() => checkOrganizationalUnits(['a', 'a']))).toBe('ERR_CA_NAME');
    expect(await codeOfRefusal(() => checkOrganizationalUnits(Array.from({ length: 17 }, (_, i) => `u${i}`)))).toBe('ERR_CA_NAME');
  });
});

describe('hosts', () => {
  it('tells DNS names from addresses, in one spelling each, without repetition', () => {
    expect(checkHosts(['Localhost', '127.0.0.1', '0:0:0:0:0:0:0:1', '::1', 'a.example'])).toEqual({ dnsNames: ['localhost', 'a.example'], ipAddresses: ['127.0.0.1', '::1'] });
  });
  it.each([[[]], [['*.example']], [['a b']], [['-a']], [['a.1']], [['fe80::1%eth0']], [['']], [[`${'a.'.repeat(127)}aa`]]])('refuses %j', async (hosts) => {
    expect(await codeOfRefusal(() => checkHosts(hosts))).toBe('ERR_CA_NAME');
  });
});

describe('lifetimes', () => {
  it.each([
    ['90s', 90],
    ['15m', 900],
    ['24h', 86_400],
    ['30d', 2_592_000],
    ['2w', 1_209_600],
    [1, 1],
  ] as const)('reads %s', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });
  it.each(['', '0s', '1', '-1h', '1.5h', '1 h', 'h', '1y', '99999999999d', 0, -1, 1.5, Number.NaN, Infinity])('refuses %j', async (text) => {
    expect(await codeOfRefusal(() => parseDuration(text))).toBe('ERR_CA_TTL');
  });
  it('reads back what it writes', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 10 * 365 * 86_400 }), (seconds) => parseDuration(formatDuration(seconds)) === seconds));
  });
});

describe('tokens', () => {
  const root = new Uint8Array([1, 2, 3]);
  it('reads back what it writes, and knows whose it is', () => {
    const { text, secretHash } = createTokenText(root, systemRandomness);
    const parsed = parseToken(text);
    expect(parsed.secretHash).toBe(secretHash);
    expect(isTokenFor(parsed, root)).toBe(true);
    expect(isTokenFor(parsed, new Uint8Array([1, 2, 4]))).toBe(false);
  });
  it('has one spelling', async () => {
    const { text } = createTokenText(root, systemRandomness);
    const [, secret = '', pin = ''] = text.split('.');
    // The last character of 43 carries two bits that must be zero.
    const strayed = secret.slice(0, -1) + String.fromCodePoint((secret.codePointAt(42) ?? 0) + 1);
    for (const wrong of [`${text} `, ` ${text}`, text.replace('sallyport1', 'sallyport2'), `sallyport1.${strayed}.${pin}`, `sallyport1.${secret}`, '', `sallyport1.${secret}=.${pin}`]) {
      expect(await codeOfRefusal(() => parseToken(wrong)), wrong).toBe('ERR_TOKEN_INVALID');
    }
  });
  it('refuses any other text with ERR_TOKEN_INVALID and never repeats it', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 8 }), (text) => {
        try {
          parseToken(text);
          return false;
        } catch (error) {
          return error instanceof CaError && error.code === 'ERR_TOKEN_INVALID' && !error.message.includes(text);
        }
      }),
    );
  });
});
