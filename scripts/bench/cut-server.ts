/** A gateway whose index follows a store, with an SSE stream behind it, or the process that revokes. */
import { Gateway } from '../../src/gateway/gateway.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { StoreSource } from '../../src/revocation/store-source.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { createEchoHandler } from './echo-server.ts';

export interface CutServerJob {
  readonly role: 'gateway' | 'revoker';
  readonly store: string;
  readonly key: string;
  readonly cert: string;
  readonly issuing: string;
  readonly root: string;
}

/** The serial to revoke; the answer is the moment before that, on the clock that all processes share. */
export interface CutRequest {
  readonly serial: string;
}

const policyText = `roles:
  caller: { grants: [{ upstream: bench, tools: [echo] }] }
bindings:
  - { role: caller, when: { organizationalUnit: analytics } }
`;

process.once('message', (job: CutServerJob) => {
  void start(job);
  process.on('disconnect', () => { process.exit(); });
});

const start = async (job: CutServerJob): Promise<void> => {
  const store = await openStore(job.store, { clock: systemClock });
  const trust = new TrustStore({ issuing: [job.issuing], roots: [job.root] });
  const issuerId = trust.issuers[0]?.issuerId ?? '';
  const port = job.role === 'gateway' ? await startGateway() : 0;
  process.on('message', ({ serial }: CutRequest) => {
    const startedAt = process.hrtime.bigint();
    store.ca
      .revoke([{ issuerId, serial }], 'keyCompromise', new Date(), (record) => ({ action: 'certificate.revoked', outcome: 'done', time: new Date(), actor: 'bench', serial: record.serial }))
      .then(({ revoked }) => { process.send?.({ startedAt: startedAt.toString(), revoked: revoked.length }); }, (error: unknown) => { process.stderr.write(`${String(error)}\n`); process.exit(1); });
  });
  process.send?.({ port });

  async function startGateway(): Promise<number> {
    const index = new RevocationIndex({ randomness: systemRandomness });
    await new StoreSource({ store: store.ca, changes: store.changes, issuers: [issuerId], index, clock: systemClock }).start();
    const gateway = new Gateway({
      identity: { key: job.key, cert: job.cert }, trust, index, policy: parsePolicy(policyText), evidence: new AuditLog(store.audit, { clock: systemClock }),
      upstreams: [{ name: 'bench', handler: createEchoHandler() }],
      limits: {
        bodyBytes: 4 * 1024 * 1024, bodyTimeoutMs: 10_000, sessionsPerPrincipal: 100, streamsPerPrincipal: 100, requestsPerPrincipal: 100, subscriptionsPerPrincipal: 100, subscribedResourcesPerPrincipal: 1_000, callTimeoutMs: 3_600_000, upstreamTimeoutMs: 120_000,
        sessionIdleMs: 1_800_000, answerBytes: 16 * 1024 * 1024,
      },
      allowedHosts: ['localhost', '127.0.0.1'], allowedOrigins: [], minTlsVersion: 'TLSv1.3', auditArguments: 'digest',
      clock: systemClock, randomness: systemRandomness, log: { info: () => {}, warn: () => {}, error: () => {} },
    });
    return (await gateway.listen(0, '127.0.0.1')).port;
  }
};
