import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openForReading } from '../../src/app/deployment.ts';
import { checkIds } from '../../src/doctor/check.ts';
import type { CheckId } from '../../src/doctor/check.ts';
import { examineResumption, takeSessions } from '../../src/doctor/resumption.ts';
import { systemClock } from '../../src/system.ts';
import { createTestPki } from '../support/pki.ts';
import { checkIn, outcomes, Port, refusal } from './port.ts';
import type { OpenGate } from './port.ts';

let port: Port;
const open: OpenGate[] = [];
beforeAll(async () => {
  port = await Port.make();
});
afterAll(async () => {
  await Promise.all(open.map((gate) => gate.close()));
  await port.remove();
});

const opened = async (...how: Parameters<Port['open']>): Promise<OpenGate> => {
  const gate = await port.open(...how);
  open.push(gate);
  return gate;
};

describe('a gateway as it should be', () => {
  it('passes every check, within seconds, and leaves only revoked identities behind', async () => {
    const gateway = await port.serve();
    try {
      const started = performance.now();
      const report = await port.doctor({ url: gateway.url, publicUrl: gateway.publicUrl });
      expect(performance.now() - started).toBeLessThan(10_000);
      expect(report.checks.filter(({ outcome }) => outcome !== 'pass' && outcome !== 'warn')).toEqual([]);
      expect(report.ok).toBe(true);
      expect(report.checks.map(({ id }) => id)).toEqual(checkIds);
      expect(outcomes(report, 'pass')).toEqual(expect.arrayContaining<CheckId>(['gateway', 'goodCertificate', 'noCertificate', 'foreignAuthority', 'expired', 'revoked', 'openConnection', 'resumedSession', 'serverOnly', 'authorityAsLeaf', 'leafOfRoot', 'tls12', 'publishedCrls', 'cleanUp']));
      expect(checkIn(report, 'expired').detail).toBe('refused: the client certificate has expired (ERR_PEER_EXPIRED)');
      expect(checkIn(report, 'resumedSession').detail).toMatch(/^(no tickets are issued|TLSv1\.3 not resumed, refused: .* \(ERR_PEER_REVOKED\))$/);

      const { store, close } = await openForReading(port.directory, systemClock);
      try {
        const made = (await store.ca.findCertificates({})).filter(({ agent }) => agent.startsWith('doctor-'));
        expect(made).toHaveLength(7);
        expect(made.map(({ state, revocationReason }) => [state, revocationReason])).toEqual(made.map(() => ['revoked', 'cessationOfOperation']));
        const entries = (await store.audit.read({ from: 0, limit: 1_000 })).map(({ event }) => JSON.parse(event) as Record<string, unknown>);
        const by = (action: string): number => entries.filter((entry) => entry['action'] === action && entry['actor'] === 'cli:tester' && String(entry['agent']).startsWith('doctor-')).length;
        expect([by('certificate.issued'), by('certificate.revoked')]).toEqual([7, 7]);
      } finally {
        await close();
      }
    } finally {
      await gateway.close();
    }
  });
});

describe('a gateway that allows TLS 1.2', () => {
  it('is asked to resume a session of either version, and TLS 1.2 is no finding', async () => {
    const other = await Port.make();
    try {
      const file = other.place.path('port', 'sallyport.yaml');
      await writeFile(file, (await readFile(file, 'utf8')).replace('gateway:\n', 'gateway:\n  minTlsVersion: TLSv1.2\n'));
      const gateway = await other.serve();
      try {
        const report = await other.doctor({ url: gateway.url, publicUrl: gateway.publicUrl });
        expect(report.ok).toBe(true);
        expect(checkIn(report, 'tls12')).toMatchObject({ outcome: 'skip', detail: 'allowed by gateway.minTlsVersion' });
        expect(checkIn(report, 'resumedSession').outcome).toBe('pass');
        expect(checkIn(report, 'configuration')).toMatchObject({ outcome: 'warn', detail: expect.stringContaining('gateway.minTlsVersion') as string });
      } finally {
        await gateway.close();
      }
    } finally {
      await other.remove();
    }
  });

  it('fails resumption of TLS 1.2 alone', async () => {
    const gate = await opened({ rejectUnauthorized: false, minVersion: 'TLSv1.2' }, (socket) => (socket.isSessionReused() && socket.getProtocol() === 'TLSv1.3' ? refusal('ERR_PEER_REVOKED') : [200, '{}']));
    const pki = createTestPki();
    const leaf = pki.issuing.leaf();
    const target = { url: new URL(gate.url), root: pki.root.certPem, timeoutMs: 1_500 };
    const identity = { key: leaf.keyPem, cert: leaf.chainPem };
    const sessions = await takeSessions(target, identity, 'TLSv1.2');
    expect(sessions.map(({ version, session }) => [version, session !== undefined])).toEqual([['TLSv1.3', true], ['TLSv1.2', true]]);
    expect(await examineResumption(target, identity, sessions)).toMatchObject({ outcome: 'fail', detail: 'TLSv1.2 session resumed, let in: answered HTTP 200' });
    expect(await examineResumption(target, identity, sessions.slice(0, 1))).toEqual({ outcome: 'pass', detail: 'TLSv1.3 resumed, refused: ERR_PEER_REVOKED (ERR_PEER_REVOKED)' });
    expect(await examineResumption(target, identity, [{ version: 'TLSv1.3', session: undefined }])).toEqual({ outcome: 'pass', detail: 'no tickets are issued' });
  });
});

describe.concurrent('a gate that is open', () => {
  it('fails every check of whom it lets in, when it lets in everybody', async () => {
    const gate = await opened({ rejectUnauthorized: false, minVersion: 'TLSv1.2' });
    const report = await port.doctor({ url: gate.url });
    expect(report.ok).toBe(false);
    expect(outcomes(report, 'fail')).toEqual(expect.arrayContaining<CheckId>(['noCertificate', 'foreignAuthority', 'expired', 'revoked', 'openConnection', 'resumedSession', 'serverOnly', 'authorityAsLeaf', 'leafOfRoot', 'tls12']));
    expect(outcomes(report, 'pass')).toEqual(expect.arrayContaining<CheckId>(['gateway', 'goodCertificate', 'cleanUp']));
    expect(checkIn(report, 'noCertificate')).toEqual({
      id: 'noCertificate',
      title: 'no certificate',
      outcome: 'fail',
      detail: 'let in: answered HTTP 200',
      next: `stop what answers at ${new URL(gate.url).host}, and let agents reach the upstream only through sallyport serve of this data directory`,
    });
    expect(checkIn(report, 'resumedSession').detail).toBe('TLSv1.3 session resumed, let in: answered HTTP 200');
    expect(checkIn(report, 'tls12').detail).toBe('spoken: answered HTTP 200');
  });

  it('fails what OpenSSL alone does not look at: revocation, resumption and the issuer', async () => {
    const gate = await opened({ rejectUnauthorized: true, minVersion: 'TLSv1.3' });
    const report = await port.doctor({ url: gate.url });
    expect(outcomes(report, 'fail')).toEqual(expect.arrayContaining<CheckId>(['revoked', 'openConnection', 'resumedSession', 'leafOfRoot']));
    expect(checkIn(report, 'revoked').detail).toMatch(/^still let in \d+ ms after its revocation: answered HTTP 200$/);
    expect(checkIn(report, 'openConnection').detail).toBe('still open 1500 ms after the revocation');
    // Node hangs up without a word: refused, and nobody knows why.
    for (const id of ['foreignAuthority', 'expired', 'serverOnly'] as const) expect(checkIn(report, id)).toMatchObject({ outcome: 'warn', detail: 'refused, but not said why: the connection was closed without a word' });
    expect(checkIn(report, 'noCertificate').detail).toBe('refused: TLS alert: certificate required (ERR_PEER_NO_CERTIFICATE)');
    expect(outcomes(report, 'pass')).toEqual(expect.arrayContaining<CheckId>(['goodCertificate', 'tls12']));
  });

  it('fails resumption alone, when only full handshakes are looked at', async () => {
    const { store, close } = await openForReading(port.directory, systemClock);
    const revoked = new Set<string>();
    const unsubscribe = await store.changes.subscribe((change) => (change.kind === 'revoked' ? revoked.add(change.serial) : undefined));
    try {
      const gate = await opened({ rejectUnauthorized: false, minVersion: 'TLSv1.3' }, (socket) => {
        const serial = socket.getPeerX509Certificate()?.serialNumber.toLowerCase() ?? '';
        return !socket.isSessionReused() && revoked.has(serial) ? refusal('ERR_PEER_REVOKED') : [200, '{}'];
      });
      const report = await port.doctor({ url: gate.url });
      expect(checkIn(report, 'revoked').outcome).toBe('pass');
      expect(checkIn(report, 'resumedSession')).toMatchObject({ outcome: 'fail', detail: 'TLSv1.3 session resumed, let in: answered HTTP 200' });
    } finally {
      await unsubscribe();
      await close();
    }
  });

  it('takes a refusal for another reason for no proof, and says that nobody gets in', async () => {
    const gate = await opened({ rejectUnauthorized: false, minVersion: 'TLSv1.3' }, () => refusal('ERR_PEER_STATUS_UNKNOWN'));
    const report = await port.doctor({ url: gate.url });
    expect(checkIn(report, 'goodCertificate')).toMatchObject({ outcome: 'fail', next: 'the gateway does not hear of revocations and refuses everybody: look at its log, and at the store' });
    for (const id of ['noCertificate', 'foreignAuthority', 'expired', 'revoked', 'serverOnly', 'authorityAsLeaf', 'leafOfRoot'] as const) {
      expect(checkIn(report, id)).toMatchObject({ outcome: 'fail', detail: 'refused for another reason, which proves nothing: ERR_PEER_STATUS_UNKNOWN (ERR_PEER_STATUS_UNKNOWN)' });
    }
    expect(checkIn(report, 'resumedSession').detail).toBe('no session could be made before the revocation');
  });
});

describe.concurrent('no gate of ours', () => {
  const gateIds: readonly CheckId[] = ['goodCertificate', 'noCertificate', 'foreignAuthority', 'expired', 'revoked', 'openConnection', 'resumedSession', 'serverOnly', 'authorityAsLeaf', 'leafOfRoot', 'tls12'];

  it('says how to start the gateway when nothing listens, and makes no identity', async () => {
    const report = await port.doctor({ url: 'https://localhost:1' });
    expect(report.ok).toBe(false);
    expect(checkIn(report, 'gateway')).toMatchObject({ outcome: 'fail', detail: 'gateway not reachable at https://localhost:1 (ECONNREFUSED)', next: 'start it with sallyport serve, or name its address with --url' });
    expect(outcomes(report, 'skip')).toEqual(expect.arrayContaining([...gateIds, 'publishedCrls', 'cleanUp']));
    expect(outcomes(report, 'fail')).toEqual(['gateway']);
  });

  it('does not approach a stranger with identities of ours', async () => {
    const server = createTestPki().issuing.server();
    const gate = await opened({ key: server.keyPem, cert: server.chainPem, rejectUnauthorized: false });
    const report = await port.doctor({ url: gate.url });
    expect(checkIn(report, 'gateway').outcome).toBe('fail');
    expect(checkIn(report, 'gateway').detail).toContain('does not prove to be this gateway');
    expect(outcomes(report, 'skip')).toEqual(expect.arrayContaining([...gateIds]));
  });

  it('gives up on a port that accepts and says nothing', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => {
      silent.listen(0, 'localhost', resolve);
    });
    const address = silent.address();
    try {
      const report = await port.doctor({ url: `https://localhost:${typeof address === 'object' && address !== null ? address.port : 0}` });
      expect(checkIn(report, 'gateway').detail).toContain('(no answer within 1500 ms)');
    } finally {
      silent.close();
    }
  });

  it('refuses an address that is none', async () => {
    await expect(port.doctor({ url: 'http://localhost:8080' })).rejects.toMatchObject({ code: 'ERR_USAGE' });
  });
});
