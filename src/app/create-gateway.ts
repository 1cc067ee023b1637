/** The gateway of a data directory: authority, store, index, audit log, listeners and reload in one. */
import { constants, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { TLSSocket, TlsOptions } from 'node:tls';
import type { Logger } from 'pino';
import { createCaCertificateHandler, createCrlHandler, createEnrollHandler, createRenewHandler } from '../../ca/index.ts';
import type { Clock, IssuerId, Randomness, SerialHex } from '../../ca/index.ts';
import { CheckpointKeeper } from '../audit/checkpoint-file.ts';
import { AuditLog } from '../audit/log.ts';
import { formatListenAddress, parseListenAddress } from '../config/listen-address.ts';
import type { ListenAddress } from '../config/listen-address.ts';
import { codeOf, errorTable, SallyportError } from '../errors.ts';
import { createEnrollmentServer } from '../gateway/enrollment-server.ts';
import { Gateway } from '../gateway/gateway.ts';
import { healthHandler } from '../gateway/health.ts';
import { webListener } from '../gateway/web-listener.ts';
import { unknownUpstreams } from '../policy/findings.ts';
import { parsePolicy } from '../policy/load.ts';
import type { Policy } from '../policy/policy.ts';
import { RevocationIndex } from '../revocation/revocation-index.ts';
import { StoreSource } from '../revocation/store-source.ts';
import { systemClock, systemRandomness } from '../system.ts';
import type { ServerIdentity } from '../tls/listener.ts';
import { answerRefusal } from '../tls/refusal.ts';
import { TrustStore } from '../tls/trust.ts';
import { filesIn, openDeployment } from './deployment.ts';
import type { Deployment } from './deployment.ts';
import { closeServer, listenOn } from './listen-on.ts';
import { createLogger } from './log.ts';
import { readServerIdentity } from './server-identity.ts';
import { upstreamsOf } from './upstreams.ts';
import type { UpstreamSource } from './upstreams.ts';
import { watchFiles } from './watch-files.ts';

export interface CreateGatewayOptions {
  /** Data directory, as `sallyport init` makes it. */
  readonly directory: string;
  /** Of the private keys, when they are encrypted. */
  readonly passphrase?: string | undefined;
  /** In place of those in sallyport.yaml. One alone is served at `/mcp`, several at `/<name>/mcp`. */
  readonly upstreams?: Readonly<Record<string, UpstreamSource>> | undefined;
  /** `host:port` in place of `gateway.listen`; port 0 takes a free one. */
  readonly listen?: string | undefined;
  /** `host:port` in place of `gateway.public`; false for none. */
  readonly public?: string | false | undefined;
  /** `host:port` in place of `gateway.enroll`; false for none. */
  readonly enroll?: string | false | undefined;
  /** Default: pino on standard error at `log.level`. */
  readonly logger?: Logger | undefined;
  readonly clock?: Clock | undefined;
  readonly randomness?: Randomness | undefined;
}

export interface RunningGateway {
  /** Begins to listen. @throws SallyportError `ERR_LISTEN_ADDRESS` */
  listen(): Promise<void>;
  /** `https://host:port`, the actual port; MCP endpoints are under `paths`. */
  readonly url: string;
  readonly publicUrl: string | undefined;
  readonly enrollUrl: string | undefined;
  readonly paths: readonly { readonly path: string; readonly upstream: string }[];
  readonly deployment: Deployment;
  /** Serves one request of another https server that asks for client certificates; see `protect`. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** What such a server needs: key, certificate, trusted CAs, and that certificates are asked for and judged by us. */
  tlsOptions(): Promise<TlsServerOptions>;
  /** Judges peers of such a server at the handshake already, before it parses a byte of HTTP. */
  attach(server: HttpsServer): void;
  /** Reads policy and server certificate again. What cannot be used is reported and the good one kept. */
  reload(): Promise<void>;
  /** Lets running calls finish for a while, then ends everything. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

export type TlsServerOptions = Required<Pick<TlsOptions, 'key' | 'cert' | 'ca' | 'requestCert' | 'rejectUnauthorized' | 'minVersion' | 'secureOptions'>>;

/** How often a gateway says in the store that it lives; `revoke` waits for those it has heard of lately. */
const heartbeatMs = 5_000;

/** Octets of one answer of an in-process server. */
const answerBytes = 16 * 1024 * 1024;

/**
 * @throws SallyportError `ERR_CONFIG_*`, `ERR_POLICY_INVALID`, CaError `ERR_CA_MISSING`, `ERR_KEY_*`, `ERR_STORE_UNAVAILABLE`
 */
export const createGateway = async (options: CreateGatewayOptions): Promise<RunningGateway> => {
  const started: { logger: Logger | undefined } = { logger: options.logger };
  const { clock = systemClock, randomness = systemRandomness } = options;
  const deployment = await openDeployment(options.directory, {
    clock, randomness, passphrase: options.passphrase,
    onBackgroundError: (error: unknown) => started.logger?.error({ error }, 'background work of the authority failed'),
  });
  const { config } = deployment;
  const logger = (started.logger ??= createLogger({ level: config.log.level }));
  try {
    return await assemble(options, { deployment, clock, randomness, logger });
  } catch (error) {
    await deployment.close();
    throw error;
  }
};

interface GatewayWorld {
  readonly deployment: Deployment;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly logger: Logger;
}

const assemble = async (options: CreateGatewayOptions, world: GatewayWorld): Promise<RunningGateway> => {
  const { deployment, clock, randomness, logger } = world;
  const { config, store, authority } = deployment;
  const { passphrase } = options;
  const addresses = {
    listen: options.listen === undefined ? config.gateway.listen : addressOf(options.listen),
    public: overridden(options.public, config.gateway.public),
    enroll: overridden(options.enroll, config.gateway.enroll),
  };
  const sources = options.upstreams === undefined ? config.upstreams : new Map(Object.entries(options.upstreams));
  const policy = await readPolicy(config.policyFile);
  reportFindings(policy, [...sources.keys()], config.findings, logger);

  const keeper = new CheckpointKeeper(filesIn(config.directory).auditCheckpoint, { onError: (error) => logger.error({ error }, 'checkpoint could not be kept outside the store') });
  const audit = new AuditLog(store.audit, {
    clock, maxDelayMs: config.audit.maxDelayMs,
    onCheckpoint: (note) => keeper.offer(note),
    onAvailability: (error) => (error === undefined ? logger.info({}, 'audit log can be written again') : logger.error({ error }, 'audit log cannot be written: nothing is allowed until it can')),
  });
  const index = new RevocationIndex({ randomness });
  const trustOf = (): TrustStore => new TrustStore({ issuing: [authority.issuing.pem], roots: [authority.root.pem] });
  let trust = trustOf();
  const gateway = new Gateway({
    identity: await readServerIdentity(config.directory, passphrase), trust, index, policy, evidence: audit,
    upstreams: upstreamsOf(sources, { config, clock, randomness, log: logger }),
    limits: { ...config.gateway.limits, answerBytes },
    allowedHosts: config.gateway.allowedHosts, allowedOrigins: config.gateway.allowedOrigins,
    minTlsVersion: config.gateway.minTlsVersion, auditArguments: config.audit.arguments,
    isKnown: (issuerId, serial, thumbprint) => isKnown(world, { issuerId, serial, thumbprint }),
    clock, randomness, log: logger,
  });

  const nodeId = randomUUID();
  let cutBefore = 0;
  const source = new StoreSource({
    store: store.ca, changes: store.changes, issuers: [authority.issuing.id, authority.root.id], index, clock,
    onApplied: (change) => {
      const { cutTotal } = gateway.listener.connections;
      const facts = { connectionsCut: cutTotal - cutBefore, millis: Math.max(0, clock.now().getTime() - change.at.getTime()) };
      cutBefore = cutTotal;
      store.changes.acknowledge(nodeId, change.seq, facts).catch((error: unknown) => logger.warn({ error }, 'applied change could not be acknowledged'));
    },
  });
  await source.start();
  await store.changes.acknowledge(nodeId, await store.changes.latest(), { connectionsCut: 0, millis: 0 });
  const heartbeat = setInterval(() => {
    store.changes.heartbeat(nodeId).catch((error: unknown) => logger.warn({ error }, 'heartbeat could not be written'));
  }, heartbeatMs);
  heartbeat.unref();
  await authority.start();

  const withRoot = (identity: ServerIdentity): string => `${String(identity.cert).trimEnd()}\n${authority.root.pem}`;
  const bound: { listen?: ListenAddress; public?: ListenAddress; enroll?: ListenAddress } = {};
  const url = (): string => (bound.listen === undefined || bound.listen.port === config.gateway.listen.port ? config.gateway.url : withPort(config.gateway.url, bound.listen.port));
  const enrollUrl = (): string | undefined => {
    if (addresses.enroll === false) return undefined;
    const configured = config.gateway.enrollUrl ?? `https://${formatListenAddress(addresses.enroll)}`;
    return bound.enroll === undefined ? configured : withPort(configured, bound.enroll.port);
  };
  const onWebFailure = (error: unknown, address: string | undefined): void => logger.info({ error, address }, 'request refused');
  const publicServer = createServer({ headersTimeout: 10_000, requestTimeout: 30_000 }, webListener({ limits: { bodyBytes: 1_024, bodyTimeoutMs: 5_000 }, onFailure: onWebFailure, handler: publicHandler() }));
  const enrollmentServer = await newEnrollmentServer();

  function publicHandler(): (request: Request) => Promise<Response> {
    const health = healthHandler([
      { name: 'audit', check: async () => (audit.available ? undefined : 'unavailable') },
      { name: 'revocation', check: async () => (index.freshUntil(authority.issuing.id) > clock.now().getTime() ? undefined : 'stale') },
      { name: 'gateway', check: async () => (gateway.draining ? 'draining' : undefined) },
      { name: 'upstreams', check: async () => ((await gateway.upstreamsHealthy()) ? undefined : 'unreachable') },
    ]);
    const crl = createCrlHandler({ authority, clock, present: presentPublicly });
    const certificate = createCaCertificateHandler({ authority });
    return async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname.startsWith('/crl/')) return crl(request);
      if (pathname.startsWith('/ca/')) return certificate(request);
      return (await health(pathname)) ?? new Response(null, { status: 404 });
    };
  }

  async function newEnrollmentServer() {
    const identity = await readServerIdentity(config.directory, passphrase);
    return createEnrollmentServer({
      // The agent pins the root by its hash, so it must be shown.
      identity: { ...identity, cert: withRoot(identity) },
      trust: () => trust, index, clock, minVersion: config.gateway.minTlsVersion,
      enroll: (request, facts) => createEnrollHandler({ authority, gateway: `${url()}${gateway.paths[0]?.path ?? '/mcp'}`, renewal: `${enrollUrl() ?? ''}/renew`, present: presentPublicly })(request, facts),
      renew: (request, peer) => createRenewHandler({ authority, gateway: `${url()}${gateway.paths[0]?.path ?? '/mcp'}`, renewal: `${enrollUrl() ?? ''}/renew`, present: presentPublicly })(request, peer),
      onFailure: onWebFailure,
    });
  }

  const reload = async (): Promise<void> => {
    try {
      const next = await readPolicy(config.policyFile);
      if (next.revision !== gateway.gate.policy.revision) {
        gateway.gate.replacePolicy(next);
        audit.enqueue({ action: 'policy.loaded', outcome: 'done', time: clock.now(), actor: 'gateway', detail: { revision: next.revision, file: next.file } });
        reportFindings(next, [...sources.keys()], [], logger);
        logger.info({ revision: next.revision }, 'policy reloaded');
      }
    } catch (error) {
      logger.error({ error }, 'policy could not be reloaded: the last good one stays in force');
    }
    try {
      const identity = await readServerIdentity(config.directory, passphrase);
      trust = trustOf();
      gateway.listener.reload({ ...identity, trust });
      enrollmentServer.setSecureContext({ ...identity, cert: withRoot(identity), ca: [...trust.authorities] });
    } catch (error) {
      logger.error({ error }, 'server certificate could not be reloaded: the last good one stays in use');
    }
  };
  const stopWatching: (() => void)[] = [];
  const watch = (): void => {
    const { serverCertificate, serverKey } = filesIn(config.directory);
    if (stopWatching.length === 0) stopWatching.push(watchFiles([config.policyFile, serverCertificate, serverKey], () => void reload()));
  };

  return {
    deployment,
    get url() {
      return url();
    },
    get publicUrl() {
      return bound.public === undefined ? undefined : `http://${formatListenAddress(bound.public)}`;
    },
    get enrollUrl() {
      return enrollUrl();
    },
    get paths() {
      return gateway.paths;
    },
    reload,
    handle(request, response) {
      watch();
      return gateway.serve(request, response);
    },
    async tlsOptions() {
      const { key, cert } = await readServerIdentity(config.directory, passphrase);
      return { key, cert, ca: [...trust.authorities], requestCert: true, rejectUnauthorized: false, minVersion: config.gateway.minTlsVersion, secureOptions: constants.SSL_OP_NO_TICKET };
    },
    attach(server) {
      watch();
      const serve = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
      server.removeAllListeners('secureConnection');
      server.on('secureConnection', (socket: TLSSocket) => {
        void gateway.listener.adopt(socket).then((problem) => {
          if (problem === undefined) for (const listener of serve) listener.call(server, socket);
          else answerRefusal(socket, problem);
        });
      });
    },
    async listen() {
      bound.listen = await gateway.listen(addresses.listen.port, addresses.listen.host);
      if (addresses.public !== false) bound.public = await listenOn(publicServer, addresses.public);
      if (addresses.enroll !== false) bound.enroll = await listenOn(enrollmentServer, addresses.enroll);
      watch();
      audit.enqueue({
        action: 'gateway.started', outcome: 'done', time: clock.now(), actor: 'gateway',
        detail: { node: nodeId, policy: gateway.gate.policy.revision, upstreams: [...sources.keys()], runtime: process.version },
      });
      warnOfRuntime(logger);
      logger.info({ url: url(), publicUrl: bound.public && `http://${formatListenAddress(bound.public)}`, enrollUrl: enrollUrl(), upstreams: [...sources.keys()], policy: gateway.gate.policy.revision }, 'gateway listens');
    },
    async close(closing = {}) {
      for (const stop of stopWatching) stop();
      clearInterval(heartbeat);
      await closeServer(enrollmentServer);
      await gateway.close(closing);
      await closeServer(publicServer);
      await source.close();
      audit.enqueue({ action: 'gateway.stopped', outcome: 'done', time: clock.now(), actor: 'gateway', detail: { node: nodeId } });
      try {
        await audit.close();
        await keeper.close();
        await store.changes.forget(nodeId);
      } finally {
        await deployment.close();
      }
      logger.info({}, 'gateway stopped');
    },
  };
};

const presentPublicly = (error: unknown): { status: number; code: string; message: string } => {
  const code = codeOf(error);
  return { status: errorTable[code].http, code, message: errorTable[code].public };
};

/** A certificate that our CA signed and our inventory does not know means the CA key was used elsewhere. */
const isKnown = async ({ deployment: { store }, clock, logger }: GatewayWorld, { issuerId, serial, thumbprint }: { issuerId: IssuerId; serial: SerialHex; thumbprint: string }): Promise<boolean> => {
  const [record] = await store.ca.findCertificates({ issuerId, serial, limit: 1 });
  // What a crash left behind was signed, perhaps, but never answered as issued: nobody should hold it.
  if (record === undefined || record.state === 'intent' || (record.thumbprint !== undefined && record.thumbprint !== thumbprint)) return false;
  if (record.firstSeenAt === undefined) {
    store.ca.markSeen({ issuerId, serial }, clock.now()).catch((error: unknown) => logger.warn({ error, serial }, 'first use could not be recorded'));
  }
  return true;
};

const readPolicy = async (file: string): Promise<Policy> => {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('ERR_POLICY_INVALID', `the policy ${file} cannot be read: restore it, or name another in sallyport.yaml`, { facts: { file }, cause });
  }
  return parsePolicy(text, { file });
};

const reportFindings = (policy: Policy, upstreams: readonly string[], configFindings: readonly { readonly key: string; readonly message: string }[], logger: Logger): void => {
  for (const { kind, path, message } of [...policy.findings, ...unknownUpstreams(policy, upstreams)]) logger.warn({ kind, path, finding: message }, 'policy finding');
  for (const { key: setting, message } of configFindings) logger.warn({ setting, finding: message }, 'configuration finding');
};

const addressOf = (text: string): ListenAddress => {
  const address = parseListenAddress(text);
  if (address === undefined) throw new SallyportError('ERR_USAGE', `${JSON.stringify(text)} is not an address to listen on: write host:port, such as localhost:8443 or [::1]:8443`);
  return address;
};

const overridden = (given: string | false | undefined, configured: ListenAddress | false): ListenAddress | false =>
  given === undefined ? configured : given === false ? false : addressOf(given);

const withPort = (url: string, port: number): string => {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.origin;
};

/** Node 24.21.0 leaks about 5 KB of native memory for each handshake with a client certificate. */
const leakingRuntimes: ReadonlySet<string> = new Set(['v24.21.0']);

const warnOfRuntime = (logger: Logger): void => {
  if (leakingRuntimes.has(process.version)) logger.warn({ runtime: process.version }, 'this Node.js leaks memory with each client certificate: use 24.20 or 26');
};
