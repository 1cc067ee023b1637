import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { TrustAnchors } from '../../src/app/trust-anchors.ts';
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
