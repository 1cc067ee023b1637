/** The gateway assembled: one mutual-TLS port, one gate, one session table, an endpoint per upstream. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { TLSSocket } from 'node:tls';
import type { AuditEvent, Clock, IssuerId, Randomness, SerialHex } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { modernRevisions } from '../mcp/era.ts';
import { SeenNames } from '../mcp/instructions.ts';
import { revisions } from '../mcp/revisions.ts';
import { SealedValues } from '../mcp/sealed-values.ts';
import { Sealer } from '../mcp/sealing.ts';
import { AggregateGate } from './aggregate/aggregate-gate.ts';
import { AggregateUpstream } from './aggregate/aggregate-upstream.ts';
import { memberOf } from './aggregate/member.ts';
import { aggregateName, aggregatePath, endpointPath, namedPath } from '../config/endpoint-path.ts';
import { agentName } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';
import type { Policy } from '../policy/policy.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';
import { attachHttp } from '../tls/attach-http.ts';
import type { CutEvent } from '../tls/connections.ts';
import { createTlsListener } from '../tls/listener.ts';
import type { RefusedPeer, ServerIdentity, TlsListener } from '../tls/listener.ts';
import type { TrustStore } from '../tls/trust.ts';
import type { PeerChecks } from '../tls/verify-peer.ts';
import type { ToolWatch } from '../tools/tool-watch.ts';
import { translated } from '../translation/translated.ts';
import { createHandlerUpstream } from '../upstream/handler-upstream.ts';
import { gatewayInfo } from '../upstream/gateway-info.ts';
import type { Upstream } from '../upstream/upstream.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { McpEndpoint } from './endpoint.ts';
import { Gate } from './gate.ts';
import type { Caller, Evidence } from './gate.ts';
import { authInfoOf } from './auth-info.ts';
import { HandlerLeg } from './handler-leg.ts';
import { InProcessLeg } from './in-process-leg.ts';
import type { NodeMcpHandler } from './handler-leg.ts';
import { sendError } from './answer.ts';
import { createMcpServer, serveRequest } from './mcp-server.ts';
import type { McpServerOptions } from './mcp-server.ts';
import { Quota } from './quota.ts';
import type { QuotaLimits } from './quota.ts';
import { RoleLimits } from './role-limits.ts';
import { ToolGuard } from './tool-guard.ts';
import { RelayLeg } from './relay-leg.ts';
import { SessionlessCallers } from './sessionless-callers.ts';
import { SessionTable } from './sessions.ts';
import type { SessionLimits } from './sessions.ts';
import type { BodyLimits } from './body.ts';
import type { Leg } from './exchange.ts';

export type GatewayUpstream = Upstream | { readonly name: string; readonly handler: NodeMcpHandler };

export interface GatewayLimits extends BodyLimits, QuotaLimits, SessionLimits {
  /** Octets of one answer of an in-process server. */
  readonly answerBytes: number;
  /** Milliseconds that a call may run in all. */
  readonly callTimeoutMs: number;
  /** Milliseconds an upstream has for an answer, and a call whose client went away keeps its place. */
  readonly upstreamTimeoutMs: number;
}

export interface GatewayParts {
  readonly identity: ServerIdentity;
  readonly trust: TrustStore;
  readonly index: RevocationIndex;
  readonly policy: Policy;
  readonly evidence: Evidence;
  readonly upstreams: readonly GatewayUpstream[];
  readonly limits: GatewayLimits;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
  readonly minTlsVersion: 'TLSv1.3' | 'TLSv1.2';
  /** 32 octets, the same at every gateway that a client may meet. Default: random, so that what was sealed opens here only, until the end. */
  readonly sealingKey?: Uint8Array | undefined;
  /** Whether `/mcp` offers all upstreams as one. Default false. */
  readonly aggregate?: boolean | undefined;
  /** Protocol eras served. Default both. */
  readonly eras?: 'legacy' | 'modern' | 'both' | undefined;
  readonly auditArguments: 'digest' | 'full';
  /** How tools are defined, and whether they changed. Absent: a policy that depends on it grants no tool. */
  readonly toolWatch?: ToolWatch | undefined;
  readonly isKnown?: PeerChecks['isKnown'];
  readonly askStatus?: PeerChecks['askStatus'];
  /** Ids of principals that may name the caller in Client-Cert (RFC 9440). Default none. */
  readonly proxies?: readonly string[] | undefined;
  readonly onBorrowedTime?: PeerChecks['onBorrowedTime'];
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: GatewayLog;
}

/** Constant messages, facts as fields; a pino logger is one. */
export interface GatewayLog {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Milliseconds that running calls get to finish once the gateway drains. */
const drainMs = 10_000;

export class Gateway {
  readonly listener: TlsListener;
  readonly gate: Gate;
  readonly sessions: SessionTable;
  readonly #parts: GatewayParts;
  readonly #server: Server;
  readonly #upstreams: readonly Upstream[];
  /** All of them as one, if they are offered so. */
  readonly #aggregate: Upstream | undefined;
  readonly #legs: ReadonlyMap<string, Leg>;
  readonly #endpoints: ReadonlyMap<string, McpEndpoint>;
  readonly #quota: Quota;
  readonly #serving: Omit<McpServerOptions, 'endpointOf'>;
  readonly #stopFollowing: () => void;
  readonly #without = new SessionlessCallers();
  #draining = false;

  constructor(parts: GatewayParts) {
    this.#parts = parts;
    const { clock, randomness, evidence, limits, log } = parts;
    const tools = parts.toolWatch === undefined ? undefined : new ToolGuard({ watch: parts.toolWatch, policy: () => this.gate.policy });
    this.gate = new Gate({ policy: parts.policy, evidence, clock, auditArguments: parts.auditArguments, objectionTo: (caller, tool) => (tools === undefined ? unwatched(this.gate.policy) : tools.objectionTo(caller, tool)) });
    this.listener = createTlsListener({
      ...parts.identity, clock, trust: parts.trust, index: parts.index, isKnown: parts.isKnown, askStatus: parts.askStatus, onBorrowedTime: parts.onBorrowedTime, minVersion: parts.minTlsVersion,
      onRefused: (refused) => this.recordRefused(refused),
    });
    const sealer = new Sealer({ key: parts.sealingKey ?? randomness.bytes(32), randomness, clock });
    const served = parts.upstreams.map((upstream) => serve(upstream, { sealer, randomness, answerBytes: limits.answerBytes, log }));
    this.#upstreams = served.map(({ upstream }) => upstream);
    const legs = new Map(served.map(({ upstream, leg }) => [upstream.name, leg]));
    this.#legs = legs;
    this.sessions = new SessionTable({
      clock, randomness, limits,
      onEnd: (session, cause) => {
        tools?.forget({ upstream: session.upstream, session: session.id, principalId: session.principalId });
        this.#legs.get(session.upstream)?.endSession(session).catch((error: unknown) => log.warn({ error, upstream: session.upstream, cause }, 'upstream session could not be ended'));
      },
    });
    const quota = this.#quota = new Quota(limits);
    const roleLimits = new RoleLimits(clock);
    const onFailure = (error: unknown, caller: Caller): void => this.#logFailure(error, caller);
    const names = this.#upstreams.map(({ name }) => name);
    const eras = parts.eras ?? 'both';
    const values = new SealedValues({ sealer, clock });
    const seen = new SeenNames();
    const common = {
      sessions: this.sessions, roleLimits, sealer, values, names: seen, limits, front: parts, eras,
      // A client that finds no revision it speaks is better told so than refused with its next request.
      revisions: eras === 'both' ? revisions.map((revision) => revision.name) : modernRevisions,
      onModern: (principal: Principal) => this.#without.seen(principal), onFailure,
    };
    const byName = new Map([...this.#legs].map(([name, leg]) => [name, new McpEndpoint({ ...common, leg, gate: this.gate, quota, tools })]));
    const endpoints = this.#endpoints = new Map([...byName].flatMap(([name, endpoint]) => [[this.#pathOf(name), endpoint], [namedPath(name), endpoint]]));
    if (parts.aggregate === true) {
      const gate = new AggregateGate(this.gate, names);
      // Between the two doors the modern era is spoken, whatever the outer one takes.
      const inner = eras === 'legacy' ? new Map([...this.#legs].map(([name, leg]) => [name, new McpEndpoint({ ...common, eras: 'both', leg, gate: this.gate, quota, tools })])) : byName;
      const upstream = translated(this.#aggregateOf(inner, gate), { randomness, log: quietly(log) });
      const leg = new RelayLeg(upstream, { sealer, randomness });
      this.#aggregate = upstream;
      legs.set(aggregateName, leg);
      // A quota of its own: what goes on from here is counted where it arrives.
      endpoints.set(aggregatePath, new McpEndpoint({ ...common, leg, gate, quota: new Quota(limits) }));
    }
    this.#serving = {
      connections: this.listener.connections,
      isDraining: () => this.#draining,
      proxies: new Set(parts.proxies),
      admitForwarded: (socket, forwarded, proxy) => this.listener.admitForwarded(socket, forwarded, proxy),
      refuse: (request, response, { peer, error }) => this.#refuse(request, response, { principal: peer.principal, upstream: '', session: undefined, address: peer.remoteAddress, via: peer.via }, error),
    };
    this.#server = createMcpServer({ ...this.#serving, endpointOf: (path) => endpoints.get(path) });
    attachHttp(this.listener, this.#server);
    this.listener.connections.onCut((event) => this.#onCut(event));
    this.#stopFollowing = parts.index.onChange(({ serials, issuerId }) => {
      // Single serials come as cuts. Of a whole list, nobody tells those that were not connected.
      if (serials === 'all') this.#recheckSessions(issuerId);
    });
  }

  /** Paths served, with the upstream behind each. */
  get paths(): readonly { readonly path: string; readonly upstream: string }[] {
    const paths = this.#upstreams.map(({ name }) => ({ upstream: name, path: this.#pathOf(name) }));
    return this.#parts.aggregate === true ? [{ upstream: aggregateName, path: aggregatePath }, ...paths] : paths;
  }

  /**
   * Serves a request that another server accepted over TLS with `requestCert`. Its peer is verified
   * at its first request, since that server's own handshake is not ours to decide on.
   */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request;
    const problem = socket instanceof TLSSocket
      ? await this.listener.adopt(socket)
      : new SallyportError('ERR_PEER_NO_CERTIFICATE', 'the request did not come over TLS: serve it with https and the options of tlsOptions()');
    if (problem === undefined) {
      // The other server routes; where it mounts the one endpoint there is, is its own affair.
      const endpoint = this.#endpoints.size === 1 || this.#upstreams.length === 1 ? this.#endpoints.values().next().value : this.#endpoints.get(request.url ?? '');
      await serveRequest(request, response, endpoint, this.#serving);
      return;
    }
    // Whatever else this peer has pipelined is not read.
    response.once('close', () => socket.destroy());
    sendError(request, response, problem);
  }

  /** @throws SallyportError `ERR_LISTEN_ADDRESS` */
  listen(port: number, host: string): Promise<{ readonly host: string; readonly port: number }> {
    return this.listener.listen(port, host);
  }

  /** Whether every upstream can be reached now; one in this process always can. */
  async upstreamsHealthy(): Promise<boolean> {
    const states = await Promise.all(this.#upstreams.map((upstream) => upstream.healthy()));
    return states.every(Boolean);
  }

  /** Asks the upstreams which eras they speak, so that the first client does not wait for it. One that is away is asked again then. */
  warmUp(): void {
    for (const upstream of this.#parts.upstreams) if (!('handler' in upstream)) upstream.eras().catch(() => undefined);
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Takes no new work, lets running calls finish for a while, then ends sessions, children and connections. */
  async close(options: { readonly drainMs?: number } = {}): Promise<void> {
    this.#draining = true;
    this.listener.stop();
    this.#server.closeIdleConnections();
    const until = performance.now() + (options.drainMs ?? drainMs);
    while (this.#quota.busy && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
    await Promise.all([...new Set(this.#endpoints.values())].map((endpoint) => endpoint.endSubscriptions()));
    this.#stopFollowing();
    this.sessions.closeAll();
    await this.listener.close();
    this.#server.close();
    this.#server.closeAllConnections();
    await Promise.all([...this.#upstreams, this.#aggregate].map((upstream) => upstream?.close()));
  }

  /** A peer that was turned away, to log and audit log. */
  recordRefused({ error, subject, serial, issuer, thumbprint, address, resumed, suppressed, via }: RefusedPeer): void {
    const { clock, log } = this.#parts;
    log.warn({ code: error.code, subject, serial, issuer, address, resumed, suppressed, ...(via === undefined ? {} : { proxy: via }), reason: error.message }, 'peer refused');
    this.#record({
      action: 'handshake.refused', outcome: 'denied', time: clock.now(), reason: error.code, actor: 'gateway', subject, serial, issuer, thumbprint, address,
      detail: { resumed, ...(via === undefined ? {} : { proxy: via }), ...(suppressed > 0 ? { suppressed } : {}), ...(typeof error.facts.reason === 'string' ? { cause: error.facts.reason } : {}) },
    });
  }

  #onCut({ issuerId, serial, error, connections, peer }: CutEvent): void {
    // A certificate that ran out, or whose status is unknown for a while, says nothing against its
    // principal: with a renewed one it goes on in its sessions, and without they end for idleness.
    const sessions = forGood.has(error.code) ? this.sessions.endByCertificate(issuerId, serial, error) : 0;
    if (forGood.has(error.code)) this.#endWithoutSession(issuerId, serial);
    if (connections + sessions === 0) return;
    this.#parts.log.warn({ code: error.code, serial, issuer: issuerId, connections, sessions }, 'connections cut');
    this.#record({
      action: 'connection.cut', outcome: 'done', time: this.#parts.clock.now(), reason: error.code, issuer: issuerId, serial,
      actor: 'gateway', agent: peer === undefined ? undefined : agentName(peer.principal), subject: peer?.principal.subject, thumbprint: peer?.principal.thumbprint,
      detail: { connections, sessions },
    });
  }

  /** What a principal's modern requests left at upstreams, unless another certificate of it is connected. */
  #endWithoutSession(issuerId: IssuerId, serial: SerialHex): void {
    const principalId = this.#without.forget(issuerId, serial);
    if (principalId === undefined || this.listener.connections.countOf(principalId) > 0) return;
    for (const leg of this.#legs.values()) {
      leg.endPrincipal(principalId).catch((error: unknown) => this.#parts.log.warn({ error, upstream: leg.upstream }, 'what an upstream held for a principal could not be ended'));
    }
  }

  #recheckSessions(issuerId: IssuerId): void {
    const { index } = this.#parts;
    for (const { serial, ...certificate } of [...this.sessions.certificates(), ...this.#without.certificates()]) {
      if (certificate.issuerId !== issuerId || index.lookup(issuerId, serial) === undefined) continue;
      const error = new SallyportError('ERR_PEER_REVOKED', 'the client certificate was revoked: enroll again', { facts: { issuer: issuerId, serial } });
      this.#onCut({ issuerId, serial, error, connections: 0, peer: undefined });
    }
  }

  #pathOf(name: string): string {
    return endpointPath(name, { names: this.#upstreams.map((upstream) => upstream.name), aggregate: this.#parts.aggregate === true });
  }

  #aggregateOf(endpoints: ReadonlyMap<string, McpEndpoint>, gate: AggregateGate): AggregateUpstream {
    const { allowedHosts, limits, log } = this.#parts;
    const members = [...endpoints].map(([name, endpoint]) => [name, memberOf({
      name, host: allowedHosts[0] ?? '', answerBytes: limits.answerBytes,
      handle: (request, response, peer) => endpoint.handle(request, response, peer),
      offersTo: (principal) => gate.offers(principal, name),
    })] as const);
    return new AggregateUpstream({
      name: aggregateName, members: new Map(members), serverInfo: gatewayInfo(),
      onMemberFailure: (upstream, error) => log.warn({ error, upstream }, 'upstream left out of the aggregate'),
    });
  }

  /** A verified peer that asked for what no endpoint takes. */
  #refuse(request: IncomingMessage, response: ServerResponse, caller: Caller, error: SallyportError): void {
    this.#logFailure(error, caller);
    try {
      this.gate.recordRefusal(caller, error.code);
      sendError(request, response, error);
    } catch (cause) {
      this.#logFailure(cause, caller);
      sendError(request, response, cause);
    }
  }

  /** Writes what happens whether or not it can be recorded: that it cannot is the log's own alarm. */
  #record(event: AuditEvent): void {
    try {
      this.#parts.evidence.enqueue(event);
    } catch (error) {
      this.#parts.log.error({ error, action: event.action }, 'audit entry could not be recorded');
    }
  }

  #logFailure(error: unknown, caller: Caller): void {
    const facts = { error, agent: agentName(caller.principal), serial: caller.principal.serial, upstream: caller.upstream };
    // That an upstream is away is reported once, by what carries to it.
    const known = error instanceof SallyportError && (error.code === 'ERR_UPSTREAM_UNREACHABLE' || !/^ERR_(UPSTREAM|AUDIT)/.test(error.code));
    if (known) this.#parts.log.info(facts, 'request refused');
    else this.#parts.log.error(facts, 'request failed');
  }
}

/** Where definitions are not watched, a policy that depends on them grants no tool. */
const unwatched = ({ onToolChange, onNewTool }: Policy): 'toolUnlisted' | undefined => (onToolChange === 'deny' || onNewTool === 'deny' ? 'toolUnlisted' : undefined);

/** What ends the sessions of a certificate, not only its connections. */
const forGood: ReadonlySet<string> = new Set(['ERR_PEER_REVOKED', 'ERR_PEER_UNTRUSTED']);

interface Serving {
  readonly sealer: Sealer;
  readonly randomness: Randomness;
  readonly answerBytes: number;
  readonly log: GatewayLog;
}

/** Whatever era an MCP server speaks, clients of both reach it. */
const serve = (given: GatewayUpstream, { sealer, randomness, answerBytes, log: gatewayLog }: Serving): { readonly upstream: Upstream; readonly leg: Leg } => {
  const log = quietly(gatewayLog);
  if (!('handler' in given)) {
    const upstream = translated(given, { randomness, log });
    return { upstream, leg: new RelayLeg(upstream, { sealer, randomness }) };
  }
  const handler = createHandlerUpstream({ ...given, authInfo: authInfoOf, limits: { answerBytes }, log });
  const upstream = translated(handler, { randomness, log });
  return { upstream, leg: new InProcessLeg({ handler, native: new HandlerLeg({ ...given, sealer, maxAnswerBytes: answerBytes }), translated: new RelayLeg(upstream, { sealer, randomness }) }) };
};

/** For what reports in more detail than the gateway does. */
const quietly = (log: GatewayLog): UpstreamLog => ({ debug: () => undefined, info: log.info.bind(log), warn: log.warn.bind(log) });
