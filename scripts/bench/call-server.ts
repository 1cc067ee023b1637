/** The servers of the call benchmark: the bare SDK server over HTTP and over mutual TLS, and the gateway in front of it. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { AuditLog } from '../../src/audit/log.ts';
import type { Evidence } from '../../src/gateway/gate.ts';
import { Gateway } from '../../src/gateway/gateway.ts';
import type { GatewayUpstream } from '../../src/gateway/gateway.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { serveJob } from './child.ts';
import { createEchoHandler, echoOverStdio } from './echo-server.ts';

export interface CallServerJob {
  readonly kind: 'sdkOverHttp' | 'sdkOverMutualTls' | 'gateway';
  /** Of the gateway. An URL is that of an HTTP upstream. */
  readonly upstream?: 'handler' | 'stdio' | { readonly url: string };
  /** Where the gateway's decisions go: the audit log on SQLite as in a deployment, or nowhere. */
  readonly evidence?: 'sqlite' | 'none';
  readonly key: string;
  readonly cert: string;
  readonly issuing: string;
  readonly root: string;
}

const policyText = `roles:
  caller: { grants: [{ upstream: bench, tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

const start = async (job: CallServerJob): Promise<number> => {
  if (job.kind === 'gateway') return startGateway(job);
  const handle = createEchoHandler();
  const listener = (...[request, response]: Parameters<typeof handle>): void => { void handle(request, response); };
  const server = job.kind === 'sdkOverHttp'
    ? createHttpServer(listener)
    : createHttpsServer({ key: job.key, cert: job.cert, ca: [job.issuing, job.root], requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, listener);
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  return (server.address() as AddressInfo).port;
};

const startGateway = async (job: CallServerJob): Promise<number> => {
  const trust = new TrustStore({ issuing: [job.issuing], roots: [job.root] });
  const index = new RevocationIndex({ randomness: systemRandomness });
  index.replaceIssuer(trust.issuers[0]?.issuerId ?? '', index.newTable(), { freshUntil: Number.POSITIVE_INFINITY });
  const gateway = new Gateway({
    identity: { key: job.key, cert: job.cert }, trust, index, policy: parsePolicy(policyText),
    evidence: job.evidence === 'none' ? { available: true, enqueue: () => {} } : await auditOnSqlite(),
    upstreams: [upstreamOf(job.upstream ?? 'handler')],
    limits: {
      bodyBytes: 4 * 1024 * 1024, bodyTimeoutMs: 10_000, sessionsPerPrincipal: 100, streamsPerPrincipal: 100, requestsPerPrincipal: 100, subscriptionsPerPrincipal: 100, subscribedResourcesPerPrincipal: 1_000, callTimeoutMs: 3_600_000,
      sessionIdleMs: 1_800_000, answerBytes: 16 * 1024 * 1024,
    },
    allowedHosts: ['localhost', '127.0.0.1'], allowedOrigins: [], minTlsVersion: 'TLSv1.3', auditArguments: 'digest',
    clock: systemClock, randomness: systemRandomness, log,
  });
  process.once('SIGTERM', () => { void gateway.close({ drainMs: 0 }).then(() => { process.exit(); }); });
  return (await gateway.listen(0, '127.0.0.1')).port;
};

const tell = (facts: object, message: string): void => { process.stderr.write(`${message} ${inspect(facts)}\n`); };
const log = { debug: () => {}, info: tell, warn: () => {}, error: tell };

const upstreamOf = (upstream: NonNullable<CallServerJob['upstream']>): GatewayUpstream => {
  const name = 'bench';
  if (upstream === 'handler') return { name, handler: createEchoHandler() };
  if (upstream === 'stdio') return createStdioUpstream({ name, ...echoOverStdio, clock: systemClock, randomness: systemRandomness, log });
  return createHttpUpstream({ name, url: upstream.url, log });
};

const auditOnSqlite = async (): Promise<Evidence> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  process.once('exit', () => { rmSync(directory, { recursive: true, force: true }); });
  const store = await openStore(`sqlite:${join(directory, 'bench.db')}`, {
    clock: systemClock, checkpointSigner: createCheckpointSigner({ origin: 'bench/audit', privateKey: generateKeyPairSync('ed25519').privateKey }),
  });
  return new AuditLog(store.audit, { clock: systemClock });
};

serveJob(start);
