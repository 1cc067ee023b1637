/** Time from the call of `CaStore.revoke` until a client sees its open SSE stream end, revoked by the gateway's own process and by another one. */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock } from '../../src/system.ts';
import { createTestPki } from '../../test/support/pki.ts';
import type { TestIdentity } from '../../test/support/pki.ts';
import type { CutRequest, CutServerJob } from './cut-server.ts';
import { atMost, median, quantile } from './measure.ts';
import type { BenchRow } from './measure.ts';

export const run = async (rounds = 20): Promise<readonly BenchRow[]> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const pki = createTestPki();
  const server = pki.issuing.server();
  const store = `sqlite:${join(directory, 'bench.db')}`;
  const agents = Array.from({ length: rounds * 2 + 2 }, (_, number) => pki.issuing.leaf({ commonName: `agent-${number}`, organizationalUnits: ['analytics'] }));
  const children: ChildProcess[] = [];
  const startChild = async (role: CutServerJob['role']): Promise<{ child: ChildProcess; port: number }> => {
    const child = fork(fileURLToPath(new URL('./cut-server.ts', import.meta.url)));
    children.push(child);
    child.send({ role, store, key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem } satisfies CutServerJob);
    const [{ port }] = await once(child, 'message') as [{ port: number }];
    return { child, port };
  };
  try {
    await record(store, pki.issuing.certificate.spkiHash, agents);
    const gateway = await startChild('gateway');
    const revoker = await startChild('revoker');
    const time = async (child: ChildProcess, agent: TestIdentity): Promise<number> => {
      const { ended } = await openStream(gateway.port, agent, pki.root.certPem);
      child.send({ serial: agent.certificate.serial } satisfies CutRequest);
      const [[{ startedAt, revoked }], endedAt] = await Promise.all([once(child, 'message') as Promise<[{ startedAt: string; revoked: number }]>, ended]);
      if (revoked !== 1) throw new Error('the certificate was not there to be revoked');
      return Number(endedAt - BigInt(startedAt)) / 1e6;
    };
    const rows: BenchRow[] = [];
    for (const [index, { child }] of [gateway, revoker].entries()) {
      const samples: number[] = [];
      for (const agent of agents.slice(index * (rounds + 1), (index + 1) * (rounds + 1))) samples.push(await time(child, agent));
      // The first one warms up.
      samples.shift();
      const by = index === 0 ? 'by the same process' : 'by another process';
      rows.push({ name: `revoke to cut, ${by}: p50`, value: median(samples), unit: 'ms', goal: atMost(20) });
      rows.push({ name: `revoke to cut, ${by}: p99 of ${rounds}`, value: quantile(samples, 0.99), unit: 'ms', goal: atMost(20) });
    }
    return rows;
  } finally {
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(children.map(async (child) => { if (child.exitCode === null && child.signalCode === null) await once(child, 'exit'); }));
    await rm(directory, { recursive: true });
  }
};

/** Puts the agents' certificates into the store as if its CA had issued them. */
const record = async (url: string, issuerId: string, agents: readonly TestIdentity[]): Promise<void> => {
  const store = await openStore(url, { clock: systemClock });
  for (const [number, { certificate }] of agents.entries()) {
    const { serial, tbs, der, spkiHash, notBefore, notAfter, thumbprint } = certificate;
    await store.ca.recordIntent({
      issuerId, serial, tbs, agent: `agent-${number}`, profile: 'agent', subject: `CN=agent-${number}`, commonName: `agent-${number}`, organizationalUnits: ['analytics'],
      uri: certificate.uris[0], dnsNames: [], spkiHash, notBefore, notAfter, createdAt: new Date(), replaces: undefined,
    });
    await store.ca.recordIssued({ issuerId, serial, der, thumbprint }, { action: 'certificate.issued', outcome: 'done', time: new Date(), actor: 'bench', serial });
  }
  await store.close();
};

/** Opens a session and its GET stream; `ended` gives the moment the client saw the stream end. */
const openStream = async (port: number, { keyPem, certPem }: TestIdentity, ca: string): Promise<{ readonly ended: Promise<bigint> }> => {
  const agent = new Agent({ keepAlive: true, key: keyPem, cert: certPem, ca, servername: 'localhost' });
  const options = { agent, host: '127.0.0.1', port, path: '/mcp' };
  const accept = 'application/json, text/event-stream';
  const post = (message: object, session?: string): Promise<string | undefined> =>
    new Promise((resolve, reject) => {
      const headers = { host: `localhost:${port}`, 'content-type': 'application/json', accept, ...(session === undefined ? {} : { 'mcp-session-id': session }) };
      request({ ...options, method: 'POST', headers }, (response) => {
        response.resume().on('end', () => { resolve(response.headers['mcp-session-id']?.toString()); });
      }).on('error', reject).end(JSON.stringify(message));
    });
  const session = await post({ jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'bench', version: '1' } } });
  if (session === undefined) throw new Error('initialize was refused');
  await post({ jsonrpc: '2.0', method: 'notifications/initialized' }, session);
  return new Promise((resolve, reject) => {
    request({ ...options, method: 'GET', headers: { host: `localhost:${port}`, accept, 'mcp-session-id': session } }, (response) => {
      if (response.statusCode !== 200) {
        reject(new Error(`the stream was answered ${response.statusCode}`));
        return;
      }
      const ended = new Promise<bigint>((seen) => { response.on('error', () => {}).once('close', () => { seen(process.hrtime.bigint()); }); });
      response.resume();
      resolve({ ended });
    }).on('error', () => {}).end();
  });
};
