/** OCSP answers per second, kept and signed, against `openssl ocsp -port` where OpenSSL is installed; and how soon a revocation is what is said. */
import { spawn } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Pool } from 'undici';
import { CertificateAuthority } from '../../ca/authority.ts';
import type { OcspResponders } from '../../ca/ocsp-responders.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { EXTENDED_KEY_USAGE } from '../../ca/x509/extension.ts';
import { encodeCertificateId, encodeOcspRequest, parseOcspResponse } from '../../ca/x509/ocsp.ts';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../../test/support/pki.ts';
import { forkServer, freePort } from './child.ts';
import { atMost, median, quantile } from './measure.ts';
import type { BenchRow } from './measure.ts';
import { openResponder } from './ocsp-server.ts';
import { findProgram } from './programs.ts';

const AGENTS = 100;
const REVOCATIONS = 30;
const CONCURRENCY = 8;
const ROUNDS = 5;
const PER_ROUND = 1_500;

/** Asks about one certificate after the other. */
type NextRequest = () => Uint8Array;

export const run = async (): Promise<readonly BenchRow[]> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  const job = { directory: join(directory, 'ca'), store: `sqlite:${join(directory, 'bench.db')}` };
  try {
    const { issuer, serials, revocations } = await prepare(job);
    const responder = await openResponder(job);
    const [kept, signed] = [requestsOver(issuer, serials), requestsOver(issuer, serials, 'nonce')];
    const inProcess = { kept: await rateOf((request) => answered(responder, request), kept, 20_000), signed: await rateOf((request) => answered(responder, request), signed, 5_000) };
    const ours = await forkServer('ocsp-server.ts', job);
    const openssl = await startOpenssl(directory);
    const pool = new Pool(`http://127.0.0.1:${ours.port}`, { connections: CONCURRENCY });
    try {
      const again = async (request: Uint8Array): Promise<void> => {
        const { statusCode, body } = await pool.request({ path: '/ocsp', method: 'POST', headers: { 'content-type': 'application/ocsp-request' }, body: request });
        check(new Uint8Array(await body.arrayBuffer()), statusCode);
      };
      const loads: readonly (readonly [cpu: () => Promise<number>, send: (request: Uint8Array) => Promise<void>, next: NextRequest])[] = [
        [ours.cpu, again, kept],
        [ours.cpu, (request) => post(ours.port, request), kept],
        [ours.cpu, (request) => post(ours.port, request), signed],
        ...(openssl === undefined ? [] : [[openssl.cpu, (request: Uint8Array) => post(openssl.port, request), openssl.next] as const]),
      ];
      const rates: number[][] = loads.map(() => []);
      // The first round warms up.
      for (let round = 0; round <= ROUNDS; round += 1) {
        for (const [index, [cpu, send, next]] of loads.entries()) {
          const before = await cpu();
          await rateOf(send, next, PER_ROUND);
          if (round > 0) rates[index]?.push((PER_ROUND / (await cpu() - before)) * 1e6);
        }
      }
      const [reused = Number.NaN, keptEach = Number.NaN, signedEach = Number.NaN, reference = Number.NaN] = rates.map((each) => median(each));
      const perCpu = { unit: 'answers per CPU second', ...(openssl === undefined ? {} : { reference: { name: 'openssl ocsp -port, which signs each, a connection each', value: reference } }) };
      return [
        { name: 'kept answers, without HTTP', value: inProcess.kept, unit: 'answers/s' },
        { name: 'answers signed for a nonce, without HTTP', value: inProcess.signed, unit: 'answers/s' },
        { name: 'kept answers over HTTP, connections used again', value: reused, ...perCpu },
        { name: 'kept answers over HTTP, a connection each', value: keptEach, ...perCpu },
        { name: 'answers signed for a nonce, a connection each', value: signedEach, ...perCpu },
        { name: 'revoke, durable on SQLite, to the first answer that says so: p50', value: median(revocations), unit: 'ms', goal: atMost(20) },
        { name: `the same: p99 of ${REVOCATIONS}`, value: quantile(revocations, 0.99), unit: 'ms' },
      ];
    } finally {
      await pool.destroy();
      await ours.stop();
      await openssl?.stop();
    }
  } finally {
    await rm(directory, { recursive: true });
  }
};

interface Prepared {
  readonly issuer: Certificate;
  readonly serials: readonly string[];
  /** Milliseconds each. */
  readonly revocations: readonly number[];
}

/** An authority with agents, its responder's certificate, and what it took to revoke some. */
const prepare = async ({ directory, store: url }: { readonly directory: string; readonly store: string }): Promise<Prepared> => {
  const store = await openStore(url, { clock: systemClock, checkpointSigner: createCheckpointSigner({ origin: 'bench/audit', privateKey: generateKeyPairSync('ed25519').privateKey }) });
  const authority = await CertificateAuthority.create({ directory, name: 'Bench', trustDomain: 'bench.internal', store: store.ca, clock: systemClock, randomness: systemRandomness });
  try {
    const issue = async (name: string): Promise<string> => (await authority.issue({ agent: name })).serial;
    const issuer = authority.issuing.certificate;
    const { ocsp } = authority;
    if (ocsp === undefined) throw new Error('the authority has no responder');
    ocsp.follow(() => true);
    const serials = await Promise.all(Array.from({ length: AGENTS }, (_, number) => issue(`agent-${number}`)));
    const revocations: number[] = [];
    for (let number = 0; number <= REVOCATIONS; number += 1) {
      const serial = await issue(`gone-${number}`);
      const next = requestsOver(issuer, [serial]);
      await answered(ocsp, next());
      const started = performance.now();
      await authority.revoke({ serial });
      const answer = parseOcspResponse((await ocsp.respond(next())).der);
      if (answer.status !== 'successful' || answer.responses[0]?.status.status !== 'revoked') throw new Error('the answer does not say revoked');
      if (number > 0) revocations.push(performance.now() - started);
    }
    return { issuer, serials, revocations };
  } finally {
    await authority.close();
    await store.close();
  }
};

const requestsOver = (issuer: Certificate, serials: readonly string[], binding?: 'nonce'): NextRequest => {
  const ids = serials.map((serial) => encodeCertificateId({ hash: 'sha1', issuer, serial }));
  let next = 0;
  return () => {
    const id = ids[next++ % ids.length] ?? new Uint8Array();
    return encodeOcspRequest({ certificateIds: [id], nonce: binding === undefined ? undefined : randomBytes(32) });
  };
};

/** Microseconds of a process of one thread; the first number is in nanoseconds. */
const cpuOf = async (pid: number): Promise<number> => Number((await readFile(`/proc/${pid}/schedstat`, 'utf8')).split(' ')[0]) / 1_000;

/** Answers per second of eight clients at once; requests are made before the time begins. */
const rateOf = async (send: (request: Uint8Array) => Promise<void>, next: NextRequest, count: number): Promise<number> => {
  const requests = Array.from({ length: count }, next);
  let sent = 0;
  const client = async (): Promise<void> => {
    for (let request = requests[sent++]; request !== undefined; request = requests[sent++]) await send(request);
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: CONCURRENCY }, client));
  return (count / (performance.now() - started)) * 1_000;
};

const answered = async (responder: Pick<OcspResponders, 'respond'>, request: Uint8Array): Promise<void> => {
  check((await responder.respond(request)).der, 200);
};

/** One request over a connection of its own, as most clients of a responder do. */
const post = (port: number, request: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const parts: Buffer[] = [];
    socket.on('error', reject);
    socket.on('data', (part: Buffer) => parts.push(part));
    socket.on('end', () => {
      const answer = Buffer.concat(parts);
      const body = answer.indexOf('\r\n\r\n') + 4;
      try {
        check(new Uint8Array(answer.subarray(body)), Number(answer.subarray(9, 12).toString()));
        resolve();
      } catch (error) {
        reject(error instanceof Error ? error : new Error('no answer'));
      }
      socket.end();
    });
    socket.write(Buffer.concat([Buffer.from(`POST /ocsp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/ocsp-request\r\ncontent-length: ${request.length}\r\n\r\n`), request]));
  });

/** OCSPResponse begins with SEQUENCE and, two or three octets later, the status `successful`. */
const check = (answer: Uint8Array, status: number): void => {
  const at = (answer[1] ?? 0) === 0x82 ? 4 : 3;
  if (status !== 200 || answer[at] !== 0x0a || answer[at + 2] !== 0) throw new Error(`no OCSP answer: HTTP status ${status}, ${answer.length} octets`);
};

interface Openssl {
  readonly port: number;
  /** Microseconds so far. */
  cpu(): Promise<number>;
  readonly next: NextRequest;
  stop(): Promise<void>;
}

/** With as many certificates, a delegate and P-256, too. */
const startOpenssl = async (directory: string): Promise<Openssl | undefined> => {
  const program = findProgram('openssl');
  if (program === undefined) return undefined;
  const { issuing } = createTestPki();
  const signer = issuing.leaf({ commonName: 'responder', names: {}, extendedKeyUsage: [EXTENDED_KEY_USAGE.OCSPSigning] });
  const serials = Array.from({ length: AGENTS }, () => `01${randomBytes(18).toString('hex')}`);
  const file = async (name: string, text: string): Promise<string> => {
    await writeFile(join(directory, name), text, { mode: 0o600 });
    return join(directory, name);
  };
  await file('index.txt.attr', 'unique_subject = no\n');
  const port = await freePort();
  const child = spawn(program, [
    'ocsp', '-port', String(port), '-index', await file('index.txt', `${serials.map((serial) => `V\t361231235959Z\t\t${serial.toUpperCase()}\tunknown\t/CN=agent`).join('\n')}\n`),
    '-CA', await file('issuing.pem', issuing.certPem), '-rsigner', await file('signer.pem', signer.certPem), '-rkey', await file('signer.key', signer.keyPem), '-nmin', '60', '-ignore_err',
  ], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  const next = requestsOver(issuing.certificate, serials);
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  for (let attempt = 0; ; attempt += 1) {
    try {
      await post(port, next());
      return { port, next, stop, cpu: async () => cpuOf(child.pid ?? 0) };
    } catch (error) {
      if (attempt < 50 && child.exitCode === null) await sleep(100);
      else {
        await stop();
        throw error;
      }
    }
  }
};
