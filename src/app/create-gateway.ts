/** The gateway of a data directory: authority, store, index, audit log, listeners and reload in one. */
import { constants, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { join } from 'node:path';
import type { Server, TLSSocket, TlsOptions } from 'node:tls';
import type { Logger } from 'pino';
import { CaError } from '../../ca/errors.ts';
import type { Clock, Hierarchy, Randomness } from '../../ca/index.ts';
import { isRootAlone } from '../../ca/issuer.ts';
import { compileAdmins } from '../admin/roles.ts';
import { CheckpointKeeper } from '../audit/checkpoint-file.ts';
import { AuditLog } from '../audit/log.ts';
import { configFileName } from '../config/load.ts';
import { assertOwnerWritesAlone } from '../config/writers.ts';
import { createEnrollmentServer } from '../gateway/enrollment-server.ts';
import { Gateway } from '../gateway/gateway.ts';
import { webListener } from '../gateway/web-listener.ts';
import { RevocationIndex } from '../revocation/revocation-index.ts';
import { StoreSource } from '../revocation/store-source.ts';
import { systemClock, systemRandomness } from '../system.ts';
import { faultsOfRuntime, isFaultyRuntime } from '../tls/known-runtimes.ts';
import type { ServerIdentity } from '../tls/listener.ts';
import { answerRefusal } from '../tls/refusal.ts';
import { stapleTo } from '../tls/stapling.ts';
import type { TrustStore } from '../tls/trust.ts';
import { ToolWatch } from '../tools/tool-watch.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';
import { identityKeySet } from '../upstream/identity-token.ts';
import { acmeServerOf } from './acme.ts';
import { Addresses } from './addresses.ts';
import { filesIn, openDeployment } from './deployment.ts';
import type { Deployment } from './deployment.ts';
import { enrollmentRoutes } from './enrollment-routes.ts';
import { identityKeyOf, sealingKeyOf } from './own-key.ts';
import { isKnownCertificate } from './known-certificates.ts';
import { closeServer, listenOn } from './listen-on.ts';
import { createLogger } from './log.ts';
import { readPolicy, reportPolicyFindings } from './policy-file.ts';
import { publicHandler } from './public-handler.ts';
import { ServerCertificate } from './server-certificate.ts';
import { readServerIdentity, shownUnder } from './server-identity.ts';
import { revokersIn, trustOf } from './own-trust.ts';
import { TrustAnchors } from './trust-anchors.ts';
import { needsIdentityKey, upstreamsOf } from './upstreams.ts';
import type { UpstreamSource } from './upstreams.ts';
import { watchFiles } from './watch-files.ts';

export interface CreateGatewayOptions {
  /** Data directory, as `sallyport init` makes it. */
  readonly directory: string;
  /** Of the private keys, when they are encrypted. */
  readonly passphrase?: string | undefined;
  /** In place of those in sallyport.yaml. Each is served at `/<name>/mcp`; one alone, or one named `default`, at `/mcp` too. */
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
  /** Where `credential.fromEnv` looks. Default: that of the process. */
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
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
  if (isRootAlone(authority.hierarchy)) throw new CaError('ERR_CA_MISSING', 'this data directory holds a root alone; serve where its issuing CA is');
  const addresses = new Addresses(config.gateway, options);
  const sources = options.upstreams === undefined ? config.upstreams : new Map(Object.entries(options.upstreams));
  const identityKey = needsIdentityKey(sources) ? await identityKeyOf(config.directory, { passphrase, randomness }) : undefined;
  const upstreams = await upstreamsOf(sources, { config, clock, randomness, log: logger, identityKey, env: options.env ?? process.env });
  await assertOwnerWritesAlone(join(config.directory, configFileName));
  await assertOwnerWritesAlone(config.policyFile);
  const policy = await readPolicy(config.policyFile);
  const named = { upstreams: [...sources.keys()], trusts: [...config.trust.keys()] };
  reportPolicyFindings(policy, named, logger);
  for (const { key: setting, message } of config.findings) logger.warn({ setting, finding: message }, 'configuration finding');
  const ownCertificate = new ServerCertificate({ directory: config.directory, passphrase, authority, ttl: config.ca.serverTtl, clock, randomness, logger });
  await ownCertificate.renew();

  const keeper = new CheckpointKeeper(filesIn(config.directory).auditCheckpoint, { onError: (error) => logger.error({ error }, 'checkpoint could not be kept outside the store') });
  const audit = new AuditLog(store.audit, {
    clock, maxDelayMs: config.audit.maxDelayMs,
    onCheckpoint: (note) => keeper.offer(note),
    onAvailability: (error) => (error === undefined ? logger.info({}, 'audit log can be written again') : logger.error({ error }, 'audit log cannot be written: nothing is allowed until it can')),
  });
  const index = new RevocationIndex({ randomness });
  const foreign = await TrustAnchors.open(config, { index, clock, randomness, log: logger, record: (event) => audit.enqueue(event) });
  // Nobody enrolls or renews here on the word of another authority.
  let ownTrust = trustOf(authority.hierarchy);
  let trust = ownTrust.with(foreign.anchors);
  const known = { store: store.ca, clock, onError: (error: unknown, serial: string) => logger.warn({ error, serial }, 'first use could not be recorded') };
  const nodeId = randomUUID();
  const acknowledge = (seq: number, facts: { readonly connectionsCut: number; readonly millis: number }): void => {
    store.changes.acknowledge(nodeId, seq, facts).catch((error: unknown) => logger.warn({ error }, 'applied change could not be acknowledged'));
  };
  const toolWatch = new ToolWatch({ store: store.tools, changes: store.changes, clock, log: logger, onApplied: (seq) => acknowledge(seq, { connectionsCut: 0, millis: 0 }) });
  await toolWatch.start();
  let identityInUse = await readServerIdentity(config.directory, passphrase);
  const gateway = new Gateway({
    identity: shownUnder(identityInUse, authority.hierarchy), trust, index, policy, evidence: audit, upstreams,
    limits: { ...config.gateway.limits, answerBytes },
    allowedHosts: config.gateway.allowedHosts, allowedOrigins: config.gateway.allowedOrigins,
    minTlsVersion: config.gateway.minTlsVersion, eras: config.gateway.eras, aggregate: config.gateway.aggregate, auditArguments: config.audit.arguments,
    toolWatch, sealingKey: await sealingKeyOf(config.directory, { passphrase, randomness }),
    isKnown: (issuerId, serial, thumbprint) => isKnownCertificate(known, issuerId, serial, thumbprint),
    proxies: config.gateway.proxies,
    askStatus: (certificate, issuer) => foreign.ask(certificate, issuer), onBorrowedTime: (certificate, issuer) => foreign.borrowed(certificate, issuer),
    clock, randomness, log: logger,
  });

  let cutBefore = 0;
  const source = new StoreSource({
    store: store.ca, changes: store.changes, issuers: revokersIn(authority), index, clock,
    onApplied: (change) => {
      // Before the change is acknowledged, so that nobody is told good once revoke has returned, nor revoked once release has.
      authority.ocsp?.forget(change);
      const { cutTotal } = gateway.listener.connections;
      const facts = { connectionsCut: cutTotal - cutBefore, millis: Math.max(0, clock.now().getTime() - change.at.getTime()) };
      cutBefore = cutTotal;
      acknowledge(change.seq, facts);
    },
  });
  await source.start();
  await store.changes.acknowledge(nodeId, await store.changes.latest(), { connectionsCut: 0, millis: 0 });
  const heartbeat = setInterval(() => {
    store.changes.heartbeat(nodeId).catch((error: unknown) => logger.warn({ error }, 'heartbeat could not be written'));
  }, heartbeatMs);
  heartbeat.unref();
  await authority.start();
  authority.ocsp?.follow((issuerId) => index.freshUntil(issuerId) > clock.now().getTime());

  const onWebFailure = (error: unknown, address: string | undefined): void => logger.info({ error, address }, 'request refused');
  const publicServer = createServer(
    { headersTimeout: 10_000, requestTimeout: 30_000 },
    webListener({ limits: { bodyBytes: 4_096, bodyTimeoutMs: 5_000 }, onFailure: onWebFailure, handler: publicHandler({ authority, audit, index, gateway, foreign, clock, identityKeys: identityKey === undefined ? undefined : identityKeySet(identityKey) }) }),
  );
  publicServer.maxConnections = 1_000;
  const staple = (server: Server): void => {
    const { ocsp } = authority;
    if (ocsp !== undefined) stapleTo(server, { staple: (certificate) => ocsp.staple(certificate), onFailure: (error) => logger.warn({ error }, 'no OCSP answer could be stapled to the server certificate') });
  };
  const acme = await acmeServerOf({ deployment, clock, randomness, passphrase, logger, base: () => addresses.enrollUrl ?? '' });
  const places = () => ({ gateway: `${addresses.url}${gateway.paths[0]?.path ?? '/mcp'}`, enrollment: addresses.enrollUrl ?? '' });
  const enrollmentServer = createEnrollmentServer({
    // The agent pins the root by its hash, so it must be shown.
    identity: shownUnder(identityInUse, authority.hierarchy, { root: 'shown' }),
    trust: () => ownTrust, index, clock, minVersion: config.gateway.minTlsVersion,
    renewalGraceMs: config.ca.renewalGrace, proxies: new Set(config.gateway.proxies),
    routes: enrollmentRoutes({
      authority, acme,
      est: config.ca.est ? { keyAlgorithm: config.ca.keyAlgorithm } : undefined,
      places,
      api: {
        authority, store, audit, clock, places, policy: () => gateway.gate.policy, keyAlgorithm: config.ca.keyAlgorithm, admins: compileAdmins(config.admins), verifierKey: deployment.checkpointSigner.verifierKey, version: gatewayInfo().version,
        isKnown: ({ issuerId, serial, thumbprint }) => isKnownCertificate(known, issuerId, serial, thumbprint),
      },
    }),
    onRefused: (refused) => gateway.recordRefused(refused),
    onFailure: onWebFailure,
  });

  for (const server of [gateway.listener.server, enrollmentServer]) staple(server);

  const reloadPolicy = async (): Promise<void> => {
    try {
      await assertOwnerWritesAlone(config.policyFile);
      const next = await readPolicy(config.policyFile);
      if (next.revision === gateway.gate.policy.revision) return;
      gateway.gate.replacePolicy(next);
      audit.enqueue({ action: 'policy.loaded', outcome: 'done', time: clock.now(), actor: 'gateway', detail: { revision: next.revision, file: next.file } });
      reportPolicyFindings(next, named, logger);
      logger.info({ revision: next.revision }, 'policy reloaded');
    } catch (error) {
      logger.error({ error }, 'policy could not be reloaded: the last good one stays in force');
    }
  };
  /** Where a CA of others turns out to be ours, ours goes on without them. */
  const withForeign = (own: TrustStore, last: TrustStore): TrustStore => {
    try {
      return own.with(foreign.anchors);
    } catch (error) {
      logger.error({ error }, 'certificates of other authorities cannot be trusted beside ours: the last good ones stay, or none');
      return last.ownIssuersAre(own) ? last : own;
    }
  };
  const exchange = (identity: ServerIdentity, hierarchy: Hierarchy): void => {
    gateway.listener.reload({ ...shownUnder(identity, hierarchy), trust });
    enrollmentServer.setSecureContext({ ...shownUnder(identity, hierarchy, { root: 'shown' }), ca: [...ownTrust.authorities], minVersion: config.gateway.minTlsVersion });
    identityInUse = identity;
  };
  const reloadIdentity = async (hierarchy: Hierarchy): Promise<void> => {
    // Whoever is not trusted any more is out, whatever becomes of our own certificate.
    trust = withForeign(ownTrust, trust);
    try {
      exchange(await readServerIdentity(config.directory, passphrase), hierarchy);
    } catch (error) {
      logger.error({ error }, 'server certificate could not be reloaded: the last good one stays in use');
      try {
        exchange(identityInUse, hierarchy);
      } catch (cause) {
        logger.error({ error: cause }, 'who is trusted could not be exchanged: restart the gateway');
      }
    }
  };
  const reloadHierarchy = async (): Promise<void> => {
    try {
      await authority.refresh();
    } catch (error) {
      logger.error({ error }, 'hierarchy could not be taken over: the last good one stays in use');
    }
  };
  // One after the other: of two reloads the one that read last must win.
  let reloading = Promise.resolve();
  const reload = (): Promise<void> => (reloading = reloading.then(reloadHierarchy).then(reloadPolicy).then(() => reloadIdentity(authority.hierarchy)));
  const stopFollowing = authority.followHierarchy({
    // What is revoked of a CA is known before it is trusted, and it is trusted before it issues.
    async before(next) {
      await source.follow(revokersIn(next));
      ownTrust = trustOf(next);
      await reloadIdentity(next);
    },
    after() {
      reloading = reloading.then(async () => {
        await ownCertificate.renew();
        await reloadIdentity(authority.hierarchy);
        logger.info({ root: authority.root.name, issuing: authority.issuing.name, sequence: authority.sequence }, 'hierarchy taken over');
      });
    },
  });
  foreign.start({ inUse: () => gateway.listener.connections.certificates(), onChange: () => void reload() });
  const stopWatching: (() => void | Promise<void>)[] = [];
  const watch = (): void => {
    const { serverCertificate, serverKey, hierarchy } = filesIn(config.directory);
    if (stopWatching.length > 0) return;
    stopWatching.push(watchFiles([config.policyFile, serverCertificate, serverKey, hierarchy], () => void reload()), ownCertificate.keep(() => void reload()));
  };

  return {
    deployment,
    get url() {
      return addresses.url;
    },
    get publicUrl() {
      return addresses.publicUrl;
    },
    get enrollUrl() {
      return addresses.enrollUrl;
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
      const { key, cert } = shownUnder(await readServerIdentity(config.directory, passphrase), authority.hierarchy);
      return { key, cert, ca: [...trust.authorities], requestCert: true, rejectUnauthorized: false, minVersion: config.gateway.minTlsVersion, secureOptions: constants.SSL_OP_NO_TICKET };
    },
    attach(server) {
      watch();
      staple(server);
      const serve = server.listeners('secureConnection') as ((socket: TLSSocket) => void)[];
      server.removeAllListeners('secureConnection');
      server.on('secureConnection', (socket: TLSSocket) => {
        // Nobody else listens yet: a peer that resets meanwhile must not end the process.
        socket.on('error', () => undefined);
        gateway.listener.adopt(socket).then(
          (problem) => {
            if (problem !== undefined) answerRefusal(socket, problem);
            else for (const listener of serve) listener.call(server, socket);
          },
          (error: unknown) => {
            logger.error({ error }, 'peer could not be judged: its connection is closed');
            socket.destroy();
          },
        );
      });
    },
    async listen() {
      const { bound } = addresses;
      bound.listen = await gateway.listen(addresses.listen.port, addresses.listen.host);
      if (addresses.public !== false) bound.public = await listenOn(publicServer, addresses.public);
      if (addresses.enroll !== false) bound.enroll = await listenOn(enrollmentServer, addresses.enroll);
      watch();
      audit.enqueue({
        action: 'gateway.started', outcome: 'done', time: clock.now(), actor: 'gateway',
        detail: { node: nodeId, policy: gateway.gate.policy.revision, upstreams: [...sources.keys()], runtime: process.version },
      });
      gateway.warmUp();
      warnOfRuntime(logger);
      logger.info({ url: addresses.url, publicUrl: addresses.publicUrl, enrollUrl: addresses.enrollUrl, upstreams: [...sources.keys()], policy: gateway.gate.policy.revision }, 'gateway listens');
    },
    async close(closing = {}) {
      for (const stop of [stopFollowing, ...stopWatching]) await stop();
      clearInterval(heartbeat);
      await closeServer(enrollmentServer);
      await acme?.close();
      await gateway.close(closing);
      await closeServer(publicServer);
      await source.close();
      foreign.close();
      await toolWatch.close().catch((error: unknown) => logger.error({ error }, 'what was seen of the tools last could not be recorded'));
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

const warnOfRuntime = (logger: Logger): void => {
  if (isFaultyRuntime(process.version)) logger.warn({ runtime: process.version }, `this Node.js ${faultsOfRuntime}`);
};
