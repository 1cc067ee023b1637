import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { keyAlgorithmOf, signWith, signatureAlgorithmFor } from '../../ca/x509/algorithm.ts';
import { nullValue } from '../../ca/x509/der.ts';
import { EXTENDED_KEY_USAGE, EXTENSION, encodeExtension } from '../../ca/x509/extension.ts';
import { assembleOcspResponse, encodeOcspResponseData, parseOcspRequest, parseOcspResponse } from '../../ca/x509/ocsp.ts';
import { verifyOcspResponse } from '../../ca/x509/ocsp-response-check.ts';
import type { OcspResponseFields } from '../../ca/x509/ocsp-response-writer.ts';
import { codeOf } from '../../src/errors.ts';
import { fetchDocument } from '../../src/revocation/fetch-document.ts';
import type { FetchDocument } from '../../src/revocation/fetch-document.ts';
import { OcspSource } from '../../src/revocation/ocsp-source.ts';
import type { OcspSourceOptions } from '../../src/revocation/ocsp-source.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';

const openssl = await promisify(execFile)('openssl', ['version']).then(({ stdout }) => /OpenSSL 3/.test(stdout), () => false);
if (!openssl) console.warn('our OCSP client does not meet the responder of OpenSSL: there is no OpenSSL 3 here');

const pki = createTestPki('Corp');
const { issuing } = pki;
const issuerId = issuing.certificate.spkiHash;
const peer = issuing.leaf();
const nocheck = encodeExtension(EXTENSION.ocspNoCheck, 'nonCritical', nullValue());
const delegateOf = (ca = issuing, options: object = {}): TestIdentity => ca.leaf({ commonName: 'ocsp', extendedKeyUsage: [EXTENDED_KEY_USAGE.OCSPSigning], furtherExtensions: [nocheck], ...options });
const delegate = delegateOf();

type Say = Partial<OcspResponseFields> & { readonly status?: OcspResponseFields['statuses'][number]['status']; readonly by?: TestIdentity; readonly certificates?: readonly TestIdentity[]; readonly about?: Uint8Array; readonly repeatNonce?: false };
const seconds = (ms: number): Date => new Date(Math.floor(ms / 1000) * 1000);

const answerTo = (body: Uint8Array, now: number, { status = { status: 'good' }, by = delegate, certificates = [by], about, repeatNonce, ...fields }: Say): Uint8Array => {
  const { certificateIds: [id], nonce } = parseOcspRequest(body);
  const data = encodeOcspResponseData({
    responder: { spki: by.certificate.spki }, producedAt: seconds(now), thisUpdate: seconds(now), nextUpdate: seconds(now + 3_600_000),
    statuses: [{ certificateId: about ?? id?.der ?? new Uint8Array(), status }], nonce: repeatNonce === false ? undefined : nonce, ...fields,
  });
  return assembleOcspResponse(data, { algorithm: signatureAlgorithmFor(keyAlgorithmOf(by.key)), signature: signWith(by.key, data), certificates: certificates.map(({ certificate }) => certificate.der) });
};

const source = (options: Partial<OcspSourceOptions> = {}) => {
  const clock = { offsetMs: 0, now: () => new Date(Date.now() + clock.offsetMs) };
  const index = new RevocationIndex({ randomness: systemRandomness });
  const asked: Uint8Array[] = [];
  const problems: unknown[] = [];
  const says: { now: Say | Error } = { now: {} };
  const fetch: FetchDocument = async ({ body }) => {
    const { now } = says;
    asked.push(body?.bytes ?? new Uint8Array());
    if (now instanceof Error) throw now;
    return { status: 'fetched', bytes: answerTo(body?.bytes ?? new Uint8Array(), clock.now().getTime(), now), etag: undefined, lastModified: undefined };
  };
  const ocsp = new OcspSource({ url: 'http://ocsp.test', hash: 'sha1', nonce: 'optional', index, clock, randomness: systemRandomness, fetch, refreshMs: 900_000, inUse: () => [], onProblem: (error) => problems.push(error), ...options });
  const ask = () => ocsp.ask({ certificate: peer.certificate, issuer: issuing.certificate });
  const status = () => index.status(issuerId, peer.certificate.serial, clock.now().getTime(), peer.certificate);
  return { ocsp, index, clock, asked, problems, says, ask, status };
};

describe('an OCSP responder', () => {
  it('is asked once for all who wait, and again in the background when half of its word is over', async () => {
    const { ask, asked, status, clock, says } = source();
    expect(status()).toEqual({ status: 'unknown', because: 'noSource' });
    await Promise.all([ask(), ask(), ask()]);
    expect([asked.length, status(), ask()]).toEqual([1, { status: 'good' }, undefined]);
    clock.offsetMs = 901_000;
    says.now = { status: { status: 'revoked', reason: 'keyCompromise', revokedAt: seconds(Date.now()) } };
    // Nobody waits: the last answer holds.
    expect(ask()).toBeUndefined();
    await new Promise((resolve) => { setImmediate(resolve); });
    expect([asked.length, status().status]).toEqual([2, 'revoked']);
  });

  it('that cannot be reached leaves its last word until that ends, lends time where configured, and is not asked at each handshake', async () => {
    for (const graceMs of [0, 3_600_000]) {
      const { ask, asked, status, clock, says, problems } = source({ graceMs });
      await ask();
      says.now = new Error('away');
      clock.offsetMs = 3_601_000;
      await Promise.all([ask(), ask()]);
      await ask();
      expect([asked.length, problems.length]).toEqual([2, 1]);
      expect(status()).toEqual(graceMs === 0 ? { status: 'unknown', because: 'stale' } : { status: 'good', borrowed: true });
      clock.offsetMs = 3_604_000;
      says.now = {};
      await ask();
      expect(status()).toEqual({ status: 'good' });
    }
  });

  it('lifts a hold that it told of, and calls nobody good whom it does not know', async () => {
    const { ask, index, status, clock, says } = source({ refreshMs: 1 });
    says.now = { status: { status: 'revoked', reason: 'certificateHold', revokedAt: seconds(Date.now()) } };
    await ask();
    expect(status()).toMatchObject({ status: 'revoked' });
    says.now = {};
    clock.offsetMs = 2_000;
    await ask();
    expect(status().status).toBe('good');
    // An answer from before the hold that a CRL tells of lifts nothing.
    index.add([{ issuerId, serial: peer.certificate.serial, revokedAt: seconds(clock.now().getTime() + 1_000), reason: 'certificateHold' }]);
    clock.offsetMs = 2_010;
    void ask();
    await new Promise((resolve) => { setImmediate(resolve); });
    expect(status().status).toBe('revoked');
    index.remove(issuerId, peer.certificate.serial);
    says.now = { status: { status: 'unknown' } };
    clock.offsetMs = 4_000;
    void ask();
    await new Promise((resolve) => { setImmediate(resolve); });
    expect(status()).toEqual({ status: 'unknown', because: 'stale' });
  });

  it('may be the CA itself, or a delegate that a fresh CRL covers', async () => {
    const itself = source();
    itself.says.now = { by: issuing, certificates: [] };
    await itself.ask();
    expect(itself.status().status).toBe('good');
    const covered = source();
    covered.index.replaceIssuer(issuerId, covered.index.newTable(), { freshUntil: Number.POSITIVE_INFINITY });
    covered.says.now = { by: delegateOf(issuing, { furtherExtensions: [] }) };
    await covered.ask();
    expect(covered.problems).toEqual([]);
  });

  it.each<[string, () => Say, string]>([
    ['of another delegate', () => ({ by: delegateOf(createTestPki('Corp').issuing) }), 'nobody whom the issuer named has signed the answer'],
    ['of a delegate of the root', () => ({ by: delegateOf(pki.root) }), 'nobody whom the issuer named has signed the answer'],
    ['of an agent', () => ({ by: issuing.leaf() }), "the responder's certificate is not for OCSP signing"],
    ['of a delegate that may have been revoked', () => ({ by: delegateOf(issuing, { furtherExtensions: [] }) }), "the responder's certificate may have been revoked: it lacks ocsp-nocheck, and nobody says how it stands"],
    ['of an expired delegate', () => ({ by: delegateOf(issuing, { notBefore: new Date(Date.now() - 9_000_000), notAfter: new Date(Date.now() - 60_000) }) }), "the responder's certificate is not valid at this time"],
    ['of a delegate that is a CA', () => ({ by: delegateOf(issuing, { ca: true }) }), "the responder's certificate is that of a CA"],
    ['of a delegate whose key is for something else', () => ({ by: delegateOf(issuing, { keyUsage: ['keyAgreement'] }) }), "the responder's certificate may not sign"],
    ['of a delegate with a condition nobody understands', () => ({ by: delegateOf(issuing, { furtherExtensions: [nocheck, encodeExtension('1.2.3.4', 'critical', nullValue())] }) }), "the responder's certificate has a critical extension that is not understood"],
    ['under a delegate that did not sign it', () => ({ by: issuing, certificates: [delegate], responder: { spki: delegate.certificate.spki } }), 'the answer is not signed by its responder'],
    ['about another certificate', () => ({ about: parseOcspRequest(requestFor(issuing.leaf())).certificateIds[0]?.der ?? new Uint8Array() }), 'the answer is about other certificates'],
    ['with another nonce', () => ({ repeatNonce: false, nonce: new Uint8Array(16) }), 'the answer does not repeat the nonce that was sent: it may be an old one'],
    ['of the past', () => ({ thisUpdate: seconds(Date.now() - 7_200_000), nextUpdate: seconds(Date.now() - 60_000) }), 'the answer is past its nextUpdate'],
    ['of the future', () => ({ thisUpdate: seconds(Date.now() + 600_000) }), 'the answer comes from the future: check both clocks'],
  ])('is not believed with an answer %s', async (_what, say, reason) => {
    const { ask, says, status, problems } = source();
    says.now = say();
    await ask();
    expect(problems.map((error) => `${codeOf(error)}: ${(error as Error).message}`)).toEqual([`ERR_OCSP_INVALID: the OCSP answer cannot be used: ${reason}`]);
    expect(status().status).toBe('unknown');
  });

  it('is believed up to the last millisecond before nextUpdate, within a minute of a clock that runs ahead, and within maxAge', async () => {
    const now = seconds(Date.now()).getTime();
    const answer = parseOcspResponse(answerTo(requestFor(peer), now, { repeatNonce: false }));
    const judged = (at: number) => () => verifyOcspResponse(answer, { certificate: peer.certificate, issuer: issuing.certificate, at: new Date(at) });
    for (const at of [now - 60_000, now + 3_599_999]) expect(judged(at)().status).toEqual({ status: 'good' });
    for (const at of [now - 60_001, now + 3_600_000]) expect(judged(at)).toThrow(expect.objectContaining({ code: 'ERR_OCSP_INVALID' }));
    const { ask, says, status, problems, clock } = source({ maxAgeMs: 600_000 });
    says.now = { thisUpdate: seconds(Date.now() - 601_000) };
    await ask();
    expect([(problems[0] as Error).message, status().status]).toEqual(['the OCSP answer is older than maxAge allows', 'unknown']);
    says.now = { thisUpdate: seconds(Date.now() - 500_000) };
    clock.offsetMs = 3_000;
    await ask();
    expect(status()).toEqual({ status: 'good' });
    clock.offsetMs = 105_000;
    expect(status()).toEqual({ status: 'unknown', because: 'stale' });
  });

  it('that does not answer holds up the handshakes of so many and no more', () => {
    const { ocsp, problems } = source({ fetch: () => new Promise(() => undefined) });
    const asking = Array.from({ length: 65 }, (_, number) => ocsp.ask({ certificate: { ...peer.certificate, serial: (0x1000 + number).toString(16) }, issuer: issuing.certificate }));
    expect(asking.map((one) => one !== undefined)).toEqual([...Array.from({ length: 64 }, () => true), false]);
    expect(problems.map(codeOf)).toEqual(['ERR_TRUST_FETCH']);
  });

  it('cannot go back in time, and must repeat the nonce where that is demanded', async () => {
    const { ask, says, clock, problems, status } = source({ refreshMs: 1 });
    await ask();
    clock.offsetMs = 2_000;
    says.now = { thisUpdate: seconds(Date.now() - 60_000), status: { status: 'unknown' } };
    void ask();
    await new Promise((resolve) => { setImmediate(resolve); });
    expect([(problems[0] as Error).message, status().status]).toEqual(['the OCSP answer is older than the one in use, which stays', 'good']);
    const strict = source({ nonce: 'required' });
    strict.says.now = { repeatNonce: false };
    await strict.ask();
    expect(strict.status().status).toBe('unknown');
  });
});

const requestFor = (identity: TestIdentity): Uint8Array => {
  let sent = new Uint8Array();
  const probe = new OcspSource({
    url: 'http://x', hash: 'sha256', nonce: 'none', index: new RevocationIndex({ randomness: systemRandomness }), clock: { now: () => new Date() }, randomness: systemRandomness, refreshMs: 1, inUse: () => [], onProblem: () => undefined,
    fetch: async ({ body }) => { sent = Uint8Array.from(body?.bytes ?? []); throw new Error('enough'); },
  });
  void probe.ask({ certificate: identity.certificate, issuer: issuing.certificate });
  return sent;
};

describe.skipIf(!openssl)('the responder of OpenSSL', () => {
  it('is understood', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sallyport-ocsp-'));
    const port = await new Promise<number>((resolve) => { const probe = createServer().listen(0, '127.0.0.1', () => { const { port: free } = probe.address() as AddressInfo; probe.close(() => { resolve(free); }); }); });
    const gone = issuing.leaf({ commonName: 'gone' });
    const line = ({ certificate }: TestIdentity, revoked: string): string => `${revoked === '' ? 'V' : 'R'}\t401231235959Z\t${revoked}\t${certificate.serial.toUpperCase()}\tunknown\t/CN=x\n`;
    writeFileSync(join(directory, 'index.txt'), line(peer, '') + line(gone, '261121000000Z,keyCompromise'));
    writeFileSync(join(directory, 'ca.pem'), issuing.certPem);
    writeFileSync(join(directory, 'signer.pem'), delegate.certPem + delegate.keyPem);
    const responder = spawn('openssl', ['ocsp', '-index', 'index.txt', '-port', String(port), '-CA', 'ca.pem', '-rsigner', 'signer.pem', '-rkey', 'signer.pem', '-ndays', '1'], { cwd: directory, stdio: 'ignore' });
    try {
      const { ocsp, index, problems, ask, status, clock } = source({ url: `http://127.0.0.1:${port}/`, fetch: fetchDocument });
      for (let tries = 0; status().status !== 'good' && tries < 200; tries += 1) {
        clock.offsetMs += 120_000;
        await ask();
        if (status().status !== 'good') await new Promise((resolve) => { setTimeout(resolve, 20); });
      }
      expect([status().status, (problems.at(-1) as Error | undefined)?.message ?? '']).toEqual(['good', expect.stringMatching(/^$|no connection/) as string]);
      await ocsp.ask({ certificate: gone.certificate, issuer: issuing.certificate });
      expect(index.lookup(issuerId, gone.certificate.serial)?.reason).toBe('keyCompromise');
    } finally {
      responder.kill('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
