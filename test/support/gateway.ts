/** A whole gateway on a free loopback port, with MCP servers behind it and everything a test wants to see of it. */
import { X509Certificate } from 'node:crypto';
import type { AuditEvent } from '../../ca/ports.ts';
import type { Identity } from '../../src/bridge/identity.ts';
import { SallyportError } from '../../src/errors.ts';
import { Gateway } from '../../src/gateway/gateway.ts';
import type { GatewayLimits } from '../../src/gateway/gateway.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemRandomness } from '../../src/system.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { ToolWatch } from '../../src/tools/tool-watch.ts';
import { startUpstream } from './gateway-upstreams.ts';
import type { TestUpstream, UpstreamKind } from './gateway-upstreams.ts';
import { memoryToolStore } from './memory-tool-store.ts';
import type { MemoryToolStore } from './memory-tool-store.ts';
import { createTestPki } from './pki.ts';
import type { LeafOptions, TestIdentity, TestPki } from './pki.ts';

export interface TestGatewayOptions {
  /** Default `testPolicy`. */
  readonly policy?: string;
  /** Default one of kind `v1`. */
  readonly upstreams?: readonly (UpstreamKind | TestUpstream)[];
  readonly limits?: Partial<GatewayLimits>;
  readonly allowedHosts?: readonly string[];
  readonly allowedOrigins?: readonly string[];
  readonly auditArguments?: 'digest' | 'full';
  readonly eras?: 'legacy' | 'modern' | 'both';
  readonly aggregate?: boolean;
  readonly proxies?: readonly string[];
  /** What was approved of the tools; default nothing yet. */
  readonly toolStore?: MemoryToolStore;
}

export interface TestGateway {
  readonly gateway: Gateway;
  readonly port: number;
  /** Endpoint of the first upstream. */
  readonly url: URL;
  readonly pki: TestPki;
  readonly index: RevocationIndex;
  readonly evidence: MemoryEvidence;
  readonly clock: { offsetMs: number; now(): Date };
  /** What was logged, as `message` with its facts. */
  readonly logged: readonly { readonly message: string; readonly facts: Readonly<Record<string, unknown>> }[];
  readonly upstreams: readonly TestUpstream[];
  readonly toolStore: MemoryToolStore;
  /** The first of them. */
  readonly upstream: TestUpstream;
  /** A certificate of the common name, in the OU `analytics` unless said otherwise. */
  agent(commonName?: string, options?: LeafOptions): TestIdentity;
  revoke(identity: TestIdentity): void;
  close(): Promise<void>;
}

/** Analysts see a part of what the fixture servers offer, operators all of it. */
export const testPolicy = `
roles:
  analyst:
    grants:
      - upstream: "*"
        tools:
          - echo
          - add
          - big_integer
          - slow
          - log
          - ask_model
          - ask_user
          - list_roots
          - whoami
          - touch
          - name: echo_number
            arguments: { properties: { value: { type: integer, maximum: 100 } }, required: [value] }
        resources: ["file:///readme.txt", "file:///reports/annual", "file:///reports/weekly"]
        prompts: [greet]
        logging: true
  operator:
    grants: [{ upstream: "*", tools: ["*"], resources: ["**"], prompts: ["*"], logging: true }]
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
  - { role: operator, when: { organizationalUnit: platform } }
`;

const defaultLimits: GatewayLimits = {
  bodyBytes: 4 * 1024 * 1024, bodyTimeoutMs: 10_000, sessionsPerPrincipal: 32, streamsPerPrincipal: 16, requestsPerPrincipal: 64,
  subscriptionsPerPrincipal: 16, subscribedResourcesPerPrincipal: 256, callTimeoutMs: 3_600_000, upstreamTimeoutMs: 120_000, sessionIdleMs: 1_800_000, answerBytes: 16 * 1024 * 1024,
};

export const startTestGateway = async (options: TestGatewayOptions = {}): Promise<TestGateway> => {
  const pki = createTestPki();
  const index = new RevocationIndex({ randomness: systemRandomness });
  const issuerId = pki.issuing.certificate.spkiHash;
  for (const { certificate } of [pki.issuing, pki.root]) index.replaceIssuer(certificate.spkiHash, index.newTable(), { freshUntil: Number.POSITIVE_INFINITY });
  const evidence = new MemoryEvidence();
  const clock = { offsetMs: 0, now: () => new Date(Date.now() + clock.offsetMs) };
  const logged: { message: string; facts: Record<string, unknown> }[] = [];
  const log = (facts: object, message: string): void => void logged.push({ message, facts: { ...facts } });
  const upstreams = await Promise.all((options.upstreams ?? ['v1']).map((one) => (typeof one === 'string' ? startUpstream(one) : one)));
  const server = pki.issuing.server();
  const toolStore = options.toolStore ?? memoryToolStore();
  const toolWatch = new ToolWatch({ store: toolStore, changes: toolStore.changes, clock, log: { warn: log, error: log } });
  await toolWatch.start();
  const gateway = new Gateway({
    identity: { key: server.keyPem, cert: server.chainPem },
    trust: new TrustStore({ issuing: [pki.issuing.certPem], roots: [pki.root.certPem] }),
    index, evidence, clock, upstreams: upstreams.map(({ upstream }) => upstream),
    policy: parsePolicy(options.policy ?? testPolicy),
    limits: { ...defaultLimits, ...options.limits },
    allowedHosts: options.allowedHosts ?? ['localhost', '127.0.0.1'],
    allowedOrigins: options.allowedOrigins ?? [],
    minTlsVersion: 'TLSv1.3',
    eras: options.eras,
    aggregate: options.aggregate,
    proxies: options.proxies,
    auditArguments: options.auditArguments ?? 'digest',
    toolWatch,
    randomness: systemRandomness,
    log: { info: log, warn: log, error: log },
  });
  const { port } = await gateway.listen(0, '127.0.0.1');
  const [first] = upstreams;
  if (first === undefined) throw new TypeError('a gateway needs an upstream');
  return {
    gateway, port, pki, index, evidence, clock, logged, upstreams, toolStore, upstream: first,
    url: new URL(`https://localhost:${port}${gateway.paths[0]?.path ?? '/mcp'}`),
    agent: (commonName = 'agent-7', leaf = {}) => pki.issuing.leaf({ commonName, organizationalUnits: ['analytics'], ...leaf }),
    revoke: ({ certificate }) => index.add([{ issuerId, serial: certificate.serial, revokedAt: clock.now(), reason: 'keyCompromise' }]),
    close: async () => {
      await gateway.close({ drainMs: 0 });
      await toolWatch.close().catch(() => undefined);
      await Promise.all(upstreams.map((upstream) => upstream.close()));
    },
  };
};

/** An audit log in memory that can be made to fail. */
export class MemoryEvidence {
  readonly events: AuditEvent[] = [];
  available = true;
  /** The next `enqueue` throws, as a full queue does. */
  full = false;

  enqueue(event: AuditEvent): void {
    if (this.full) throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'no more can be kept');
    this.events.push(event);
  }

  of(action: string): readonly AuditEvent[] {
    return this.events.filter((event) => event.action === action);
  }
}

/** The same identity in the form the bridge presents. */
export const bridgeIdentity = (pki: TestPki, { key, certPem, certificate }: TestIdentity): Identity => ({
  name: certificate.serial, directory: '', key, leaf: new X509Certificate(certPem), intermediates: [], roots: [new X509Certificate(pki.root.certPem)],
  gateway: undefined, renewal: undefined, serial: certificate.serial, thumbprint: certificate.thumbprint, notBefore: certificate.notBefore, notAfter: certificate.notAfter,
});
