import { describe, expect, it } from 'vitest';
import type { CertificateRecord } from '../../ca/ports.ts';
import { isKnownCertificate } from '../../src/app/known-certificates.ts';

const now = new Date('2026-01-01T00:00:00Z');

const worldWith = (record: Partial<CertificateRecord> | undefined) => {
  const seen: string[] = [];
  return {
    seen,
    store: {
      findCertificates: async () => (record === undefined ? [] : [{ thumbprint: 'aa', firstSeenAt: undefined, ...record } as CertificateRecord]),
      markSeen: async ({ serial }: { serial: string }) => void seen.push(serial),
    },
    clock: { now: () => now },
    onError: () => undefined,
  };
};

describe('what the inventory knows at a handshake', () => {
  it.each([
    ['an issued certificate', { state: 'issued' }, true],
    ['a revoked one, whose refusal the index words', { state: 'revoked' }, true],
    ['an intent, for which nothing was answered', { state: 'intent', thumbprint: undefined }, false],
    ['what a crash left behind, which nobody was given', { state: 'unknownIssued', thumbprint: undefined }, false],
    ['other octets under a known serial', { state: 'issued', thumbprint: 'bb' }, false],
    ['nothing', undefined, false],
  ] as const)('%s', async (_what, record, known) => {
    expect(await isKnownCertificate(worldWith(record), 'issuer', '01', 'aa')).toBe(known);
  });

  it('marks the first use, and only the first', async () => {
    const first = worldWith({ state: 'issued' });
    await isKnownCertificate(first, 'issuer', '01', 'aa');
    expect(first.seen).toEqual(['01']);
    const later = worldWith({ state: 'issued', firstSeenAt: now });
    await isKnownCertificate(later, 'issuer', '01', 'aa');
    expect(later.seen).toEqual([]);
  });
});
