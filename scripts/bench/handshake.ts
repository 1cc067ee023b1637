/**
 * CPU of the server per mutual-TLS handshake: a bare Node https server with tickets and full chains
 * is the reference; ours at 0 and 1,000,000 revoked, with tickets, resumed, and against peers whose
 * proof is forged. Alone: `node scripts/bench/handshake.ts [handshakes per pass]`.
 */
import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { generateKeyPairSync } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { encodePem } from '../../ca/x509/pem.ts';
import { createTestPki } from '../../test/support/pki.ts';
import type { HandshakeServerJob } from './handshake-server.ts';
import type { BenchRow } from './measure.ts';

interface Contender {
  readonly name: string;
  readonly job: Pick<HandshakeServerJob, 'kind' | 'tickets' | 'revoked'>;
  readonly peer: 'chain' | 'leaf' | 'resumed' | 'forged';
}

const contenders: readonly Contender[] = [
  { name: 'Node https, tickets, full chain (reference)', job: { kind: 'node', tickets: true, revoked: 0 }, peer: 'chain' },
  { name: 'Node https, resumed', job: { kind: 'node', tickets: true, revoked: 0 }, peer: 'resumed' },
  { name: 'sallyport, leaf only', job: { kind: 'sallyport', tickets: false, revoked: 0 }, peer: 'leaf' },
  { name: 'sallyport, leaf only, 1,000,000 revoked', job: { kind: 'sallyport', tickets: false, revoked: 1_000_000 }, peer: 'leaf' },
  { name: 'sallyport, full chain', job: { kind: 'sallyport', tickets: false, revoked: 0 }, peer: 'chain' },
  { name: 'sallyport, leaf only, tickets', job: { kind: 'sallyport', tickets: true, revoked: 0 }, peer: 'leaf' },
  { name: 'sallyport, resumed', job: { kind: 'sallyport', tickets: true, revoked: 0 }, peer: 'resumed' },
  { name: 'sallyport, forged proof', job: { kind: 'sallyport', tickets: false, revoked: 0 }, peer: 'forged' },
  { name: 'sallyport, forged proof, 1,000,000 revoked', job: { kind: 'sallyport', tickets: false, revoked: 1_000_000 }, peer: 'forged' },
];

export const run = async (handshakes = 300, passes = 5): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const leaf = pki.issuing.leaf();
  const secrets = { key: server.keyPem, cert: server.chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem };
  const children: ChildProcess[] = [];
  try {
    const running: { readonly contender: Contender; readonly child: ChildProcess; readonly connectOnce: () => Promise<void>; readonly samples: number[] }[] = [];
    for (const contender of contenders) {
      const child = fork(fileURLToPath(new URL('./handshake-server.ts', import.meta.url)));
      children.push(child);
      child.send({ ...contender.job, ...secrets } satisfies HandshakeServerJob);
      const [{ port }] = await once(child, 'message') as [{ port: number }];
      const options: ConnectionOptions = {
        host: '127.0.0.1', port, servername: 'localhost', ca: pki.root.certPem, key: leaf.keyPem,
        cert: contender.peer === 'chain' || contender.peer === 'resumed' ? leaf.chainPem : leaf.certPem,
      };
      const session = contender.peer === 'resumed' ? await handshake(options, true) : undefined;
      const connectOnce = contender.peer === 'forged'
        ? () => refusedHandshake({ ...options, key: forgedKey(leaf.key) })
        : async () => { await handshake(session === undefined ? options : { ...options, session }, false); };
      running.push({ contender, child, connectOnce, samples: [] });
    }
    // Interleaved, so that whatever else the machine does falls on all alike. The first pass warms up.
    for (let pass = 0; pass <= passes; pass += 1) {
      for (const { child, connectOnce, samples } of running) {
        const before = await cpuOf(child);
        for (let number = 0; number < handshakes; number += 1) await connectOnce();
        const spent = (await cpuOf(child)) - before;
        if (pass > 0) samples.push(spent / handshakes);
      }
    }
    const [reference, ...rest] = running.map(({ contender, samples }) => ({ name: contender.name, value: samples.toSorted((a, b) => a - b)[samples.length >> 1] ?? Number.NaN, unit: 'µs CPU' }));
    return reference === undefined ? [] : [reference, ...rest.map((row) => ({ ...row, reference }))];
  } finally {
    for (const child of children) child.kill();
  }
};

const cpuOf = async (child: ChildProcess): Promise<number> => {
  child.send('cpu');
  const [{ cpu }] = await once(child, 'message') as [{ cpu: NodeJS.CpuUsage }];
  return cpu.user + cpu.system;
};

/** A handshake, one request, and the answer; that is when the server has verified the peer. */
const handshake = (options: ConnectionOptions, keepSession: boolean): Promise<Buffer | undefined> =>
  new Promise((resolve, reject) => {
    let session: Buffer | undefined;
    const socket = connect(options, () => { socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'); });
    if (keepSession) socket.on('session', (given) => { session = given; });
    socket.on('error', reject).on('close', () => { resolve(session); }).resume();
  });

/** Another private key under the certificate's public point, which sits at the end of the PKCS#8 of a P-256 key: OpenSSL takes it, and its proof does not verify. */
const forgedKey = (genuine: KeyObject): string => {
  const der = (key: KeyObject): Buffer => key.export({ type: 'pkcs8', format: 'der' });
  const forged = der(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  der(genuine).copy(forged, forged.length - POINT_OCTETS, forged.length - POINT_OCTETS);
  return encodePem('PRIVATE KEY', forged);
};
const POINT_OCTETS = 65;

/** Ends with the server's alert. */
const refusedHandshake = (options: ConnectionOptions): Promise<void> =>
  new Promise((resolve, reject) => {
    let answered = false;
    const socket = connect(options, () => { socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'); });
    socket.on('data', () => { answered = true; });
    socket.on('error', () => {}).on('close', () => { if (answered) reject(new Error('a forged proof was answered')); else resolve(); });
  });

if (import.meta.main) console.table(await run(Number(process.argv[2] ?? 300)));
