/**
 * CPU of the server per mutual-TLS handshake: a bare Node https server with tickets and full chains
 * is the reference; ours at 0 and 1,000,000 revoked, with tickets, resumed, and against peers whose
 * proof is forged; nginx with CRLs of several sizes where it is installed.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { CrlEntryBuffer } from '../../ca/x509/crl.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import { createTestPki } from '../../test/support/pki.ts';
import type { TestIdentity, TestPki } from '../../test/support/pki.ts';
import { forkServer, startNginx } from './child.ts';
import type { Contender } from './child.ts';
import type { HandshakeServerJob } from './handshake-server.ts';
import { median, ratioAtMost } from './measure.ts';
import type { BenchRow, Goal } from './measure.ts';

interface Candidate {
  readonly name: string;
  readonly server: Pick<HandshakeServerJob, 'kind' | 'tickets' | 'revoked'> | { readonly kind: 'nginx'; readonly revoked: number };
  readonly peer: 'chain' | 'leaf' | 'resumed' | 'forged';
  readonly goal?: Goal;
  /** Name of the candidate it is compared with; default the first. */
  readonly against?: string;
}

const sallyport = (revoked: number, tickets = false): Candidate['server'] => ({ kind: 'sallyport', tickets, revoked });

/** `within noise` of the same thing without revocations. */
const unchanged = ratioAtMost(1.1);

const candidates: readonly Candidate[] = [
  { name: 'Node https, tickets, full chain', server: { kind: 'node', tickets: true, revoked: 0 }, peer: 'chain' },
  { name: 'leaf only', server: sallyport(0), peer: 'leaf', goal: ratioAtMost(1.05) },
  { name: 'leaf only, 1,000,000 revoked', server: sallyport(1_000_000), peer: 'leaf', goal: unchanged, against: 'leaf only' },
  { name: 'full chain', server: sallyport(0), peer: 'chain', goal: ratioAtMost(1.05) },
  { name: 'leaf only, session tickets (not used)', server: sallyport(0, true), peer: 'leaf' },
  { name: 'resumed (not used)', server: sallyport(0, true), peer: 'resumed' },
  { name: 'forged proof', server: sallyport(0), peer: 'forged', goal: ratioAtMost(1.05) },
  { name: 'forged proof, 1,000,000 revoked', server: sallyport(1_000_000), peer: 'forged', goal: unchanged, against: 'forged proof' },
  { name: 'Node https, resumed', server: { kind: 'node', tickets: true, revoked: 0 }, peer: 'resumed' },
  { name: 'nginx, full chain, ssl_crl with 0 revoked', server: { kind: 'nginx', revoked: 0 }, peer: 'chain' },
  { name: 'nginx, full chain, ssl_crl with 10,000 revoked', server: { kind: 'nginx', revoked: 10_000 }, peer: 'chain' },
  { name: 'nginx, full chain, ssl_crl with 100,000 revoked', server: { kind: 'nginx', revoked: 100_000 }, peer: 'chain' },
  { name: 'nginx, forged proof, ssl_crl with 100,000 revoked', server: { kind: 'nginx', revoked: 100_000 }, peer: 'forged' },
];

export const run = async (handshakes = 300, passes = 5): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const server = pki.issuing.server();
  const leaf = pki.issuing.leaf();
  const running: { readonly candidate: Candidate; readonly contender: Contender; readonly connectOnce: () => Promise<void>; readonly samples: number[] }[] = [];
  try {
    for (const candidate of candidates) {
      const contender = await start(candidate.server, pki, server);
      if (contender === undefined) continue;
      const options: ConnectionOptions = {
        host: '127.0.0.1', port: contender.port, servername: 'localhost', ca: pki.root.certPem, key: leaf.keyPem,
        cert: candidate.peer === 'leaf' || (candidate.peer === 'forged' && candidate.server.kind === 'sallyport') ? leaf.certPem : leaf.chainPem,
      };
      const session = candidate.peer === 'resumed' ? await handshake(options, true) : undefined;
      const connectOnce = candidate.peer === 'forged'
        ? () => refusedHandshake({ ...options, key: forgedKey(leaf.key) })
        : async () => { await handshake(session === undefined ? options : { ...options, session }, false); };
      running.push({ candidate, contender, connectOnce, samples: [] });
    }
    // Interleaved, so that whatever else the machine does falls on all alike. The first pass warms up.
    for (let pass = 0; pass <= passes; pass += 1) {
      for (const { contender, connectOnce, samples } of running) {
        const before = await contender.cpu();
        for (let number = 0; number < handshakes; number += 1) await connectOnce();
        const spent = (await contender.cpu()) - before;
        if (pass > 0) samples.push(spent / handshakes);
      }
    }
  } finally {
    await Promise.all(running.map(({ contender }) => contender.stop()));
  }
  const measured = new Map(running.map(({ candidate, samples }) => [candidate.name, median(samples)]));
  const [first] = candidates;
  return running.map(({ candidate: { name, goal, against = first?.name ?? '' } }) => ({
    name, value: measured.get(name) ?? Number.NaN, unit: 'µs CPU',
    ...(name === against ? {} : { reference: { name: against, value: measured.get(against) ?? Number.NaN } }),
    ...(goal === undefined ? {} : { goal }),
  }));
};

const start = (server: Candidate['server'], pki: TestPki, { keyPem, chainPem }: TestIdentity): Promise<Contender | undefined> =>
  server.kind === 'nginx'
    ? startNginx((directory, port) => nginxServer({ directory, port, pki, keyPem, chainPem, revoked: server.revoked }))
    : forkServer('./handshake-server.ts', { ...server, key: keyPem, cert: chainPem, issuing: pki.issuing.certPem, root: pki.root.certPem } satisfies HandshakeServerJob);

const nginxServer = async (given: { directory: string; port: number; pki: TestPki; keyPem: string; chainPem: string; revoked: number }): Promise<string> => {
  const { directory, port, pki } = given;
  const entries = new CrlEntryBuffer({ expectedEntries: given.revoked });
  for (let number = 0; number < given.revoked; number += 1) entries.add({ serial: `01${randomBytes(18).toString('hex')}`, revokedAt: new Date(), reason: 'superseded' });
  const crls = encodePem('X509 CRL', pki.issuing.crl({ entries })) + encodePem('X509 CRL', pki.root.crl({ entries: [] }));
  const files = { 'key.pem': given.keyPem, 'cert.pem': given.chainPem, 'ca.pem': pki.issuing.certPem + pki.root.certPem, 'ca.crl': crls };
  for (const [name, text] of Object.entries(files)) await writeFile(`${directory}/${name}`, text, { mode: 0o600 });
  return `server { listen 127.0.0.1:${port} ssl; server_name localhost; ssl_protocols TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
ssl_certificate ${directory}/cert.pem; ssl_certificate_key ${directory}/key.pem;
ssl_client_certificate ${directory}/ca.pem; ssl_crl ${directory}/ca.crl; ssl_verify_client on; ssl_verify_depth 2;
location / { return 200 ok; } }`;
};

/** A handshake, one request, and the answer; that is when the server has verified the peer. */
const handshake = (options: ConnectionOptions, keepSession: boolean): Promise<Buffer | undefined> =>
  new Promise((resolve, reject) => {
    let session: Buffer | undefined;
    let answer = '';
    const socket = connect(options, () => { socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'); });
    if (keepSession) socket.on('session', (given) => { session = given; });
    socket.on('error', reject).on('data', (octets: Buffer) => { answer += octets.toString('latin1'); }).on('close', () => {
      if (answer.startsWith('HTTP/1.1 200')) resolve(session);
      else reject(new Error(`the handshake was not accepted: ${answer.slice(0, 200)}`));
    });
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
