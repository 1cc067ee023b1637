/** The gateway under measurement, assembled as a deployment has it, with limits that no benchmark reaches. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp } from 'node:fs/promises';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { createCheckpointSigner } from '../../src/audit/checkpoint.ts';
import { AuditLog } from '../../src/audit/log.ts';
import type { Evidence } from '../../src/gateway/gate.ts';
import { Gateway } from '../../src/gateway/gateway.ts';
import type { GatewayLimits, GatewayUpstream } from '../../src/gateway/gateway.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { ToolWatch } from '../../src/tools/tool-watch.ts';

/** PEM texts, as they cross to the process of the gateway. */
export interface GatewaySecrets {
  readonly key: string;
  readonly cert: string;
  readonly issuing: string;
  readonly root: string;
}

export interface BenchGatewayOptions extends GatewaySecrets {
  readonly policy: string;
  readonly upstreams: readonly GatewayUpstream[];
  /** Where decisions go: the audit log on SQLite as in a deployment, which also watches the tools' definitions, or nowhere. */
  readonly evidence: 'sqlite' | 'none';
  /** Default half an hour. */
  readonly sessionIdleMs?: number;
}

const limits: Omit<GatewayLimits, 'sessionIdleMs'> = {
  bodyBytes: 4 * 1024 * 1024, bodyTimeoutMs: 10_000, answerBytes: 16 * 1024 * 1024, callTimeoutMs: 3_600_000, upstreamTimeoutMs: 120_000,
  sessionsPerPrincipal: 1_000_000, streamsPerPrincipal: 1_000_000, requestsPerPrincipal: 1_000_000, subscriptionsPerPrincipal: 1_000_000, subscribedResourcesPerPrincipal: 1_000_000,
};

/** Listens on a free loopback port and ends with the process. */
export const startBenchGateway = async ({ key, cert, issuing, root, policy, upstreams, evidence, sessionIdleMs = 1_800_000 }: BenchGatewayOptions): Promise<{ readonly gateway: Gateway; readonly port: number }> => {
  const trust = new TrustStore({ issuing: [issuing], roots: [root] });
  const index = new RevocationIndex({ randomness: systemRandomness });
  index.replaceIssuer(trust.issuers[0]?.issuerId ?? '', index.newTable(), { freshUntil: Number.POSITIVE_INFINITY });
  const kept = evidence === 'none' ? { evidence: { available: true, enqueue: () => {} } } : await keepOnSqlite();
  const gateway = new Gateway({
    identity: { key, cert }, trust, index, policy: parsePolicy(policy), upstreams, limits: { ...limits, sessionIdleMs },
    ...kept,
    allowedHosts: ['localhost', '127.0.0.1'], allowedOrigins: [], minTlsVersion: 'TLSv1.3', auditArguments: 'digest',
    clock: systemClock, randomness: systemRandomness, log: benchLog,
  });
  process.once('SIGTERM', () => { void gateway.close({ drainMs: 0 }).then(() => { process.exit(); }); });
  return { gateway, port: (await gateway.listen(0, '127.0.0.1')).port };
};

const tell = (facts: object, message: string): void => { process.stderr.write(`${message} ${inspect(facts)}\n`); };

export const benchLog = { debug: () => {}, info: () => {}, warn: () => {}, error: tell };

const keepOnSqlite = async (): Promise<{ readonly evidence: Evidence; readonly toolWatch: ToolWatch }> => {
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  process.once('exit', () => { rmSync(directory, { recursive: true, force: true }); });
  const store = await openStore(`sqlite:${join(directory, 'bench.db')}`, {
    clock: systemClock, checkpointSigner: createCheckpointSigner({ origin: 'bench/audit', privateKey: generateKeyPairSync('ed25519').privateKey }),
  });
  const toolWatch = new ToolWatch({ store: store.tools, changes: store.changes, clock: systemClock, log: benchLog });
  await toolWatch.start();
  return { evidence: new AuditLog(store.audit, { clock: systemClock }), toolWatch };
};
