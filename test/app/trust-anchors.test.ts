import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { TrustAnchors } from '../../src/app/trust-anchors.ts';
import { examineAnchors } from '../../src/doctor/anchors.ts';
import { parseConfig } from '../../src/config/load.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../support/pki.ts';

it('asks the responder about a certificate, and about each CA above it that nobody pinned', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-trust-'));
  const pki = createTestPki('Corp');
  writeFileSync(join(directory, 'root.pem'), pki.root.certPem);
  writeFileSync(join(directory, 'issuing.pem'), pki.issuing.certPem);
  const config = (issuers: string) => parseConfig(`trust: { corp: { anchors: root.pem, issuers: ${issuers}, identity: { from: email }, ocsp: { url: "http://ocsp.test" } } }`, { directory });
  const peer = pki.issuing.leaf({ names: { emails: ['a@corp.example'] } });
  const asked: string[] = [];
  const warned: unknown[] = [];
  const log = { info: () => undefined, warn: (facts: unknown) => void warned.push(facts), error: () => undefined } as never;
  for (const [issuers, questions] of [['issuing.pem', 1], ['any', 2]] as const) {
    asked.length = 0;
    warned.length = 0;
    const trust = await TrustAnchors.open(config(issuers), {
      index: new RevocationIndex({ randomness: systemRandomness }), clock: systemClock, randomness: systemRandomness, log, record: () => undefined,
      fetch: async ({ url }) => { asked.push(url); throw new Error('away'); },
    });
    const accepted = trust.anchors[0]?.accept(peer.certificate, [pki.issuing.certificate], new Date());
    if (accepted?.ok !== true) throw new Error('not accepted');
    await trust.ask(peer.certificate, accepted.issuer);
    expect([asked.length, warned.length]).toEqual([questions, questions]);
    trust.close();
  }
  rmSync(directory, { recursive: true, force: true });
});

it('are not ready while a CRL that certificates need is missing or has ended, and the doctor says which', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-trust-'));
  const pki = createTestPki('Corp');
  writeFileSync(join(directory, 'root.pem'), pki.root.certPem);
  writeFileSync(join(directory, 'issuing.pem'), pki.issuing.certPem);
  const crl = pki.issuing.crl({ entries: [] });
  const clock = { offsetMs: 0, now: () => new Date(Date.now() + clock.offsetMs) };
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined } as never;
  const open = (rest: string) => TrustAnchors.open(
    parseConfig(`trust: { corp: { anchors: root.pem, issuers: issuing.pem, identity: { from: email }, crl: "http://crl.test"${rest} } }`, { directory }),
    { index: new RevocationIndex({ randomness: systemRandomness }), clock, randomness: systemRandomness, log, record: () => undefined, fetch: async () => {
      if (clock.offsetMs > 0) throw new Error('away');
      return { status: 'fetched', bytes: crl, etag: undefined, lastModified: undefined };
    } });
  const look = async (trust: TrustAnchors) => {
    const problems = await trust.refresh();
    return examineAnchors({ anchors: trust.state, problems, now: clock.now() });
  };
  const strict = await open('');
  expect(strict.standing).toBe('absent');
  expect(await look(strict)).toEqual({ outcome: 'pass', detail: 'corp' });
  expect(strict.standing).toBeUndefined();
  clock.offsetMs = 60_000;
  expect(await look(strict)).toEqual({ outcome: 'warn', detail: 'corp: away; the last good one is in use', next: 'sallyport trust refresh corp' });
  expect(strict.standing).toBeUndefined();
  const until = strict.state[0]?.crls[0]?.crl?.until ?? 0;
  clock.offsetMs = until + 60_000 - Date.now();
  expect(strict.standing).toBe('stale');
  expect(await look(strict)).toEqual({ outcome: 'fail', detail: 'corp: http://crl.test is stale, so certificates are refused', next: 'make it reachable, then: sallyport trust refresh corp' });
  for (const rest of [', dangerouslyAcceptStaleFor: 2m', ', dangerouslyAcceptUnknownStatus: true', ', ocsp: { url: "http://ocsp.test" }']) {
    const lenient = await open(rest);
    expect(lenient.standing).toBeUndefined();
    lenient.close();
  }
  strict.close();
  rmSync(directory, { recursive: true, force: true });
});
