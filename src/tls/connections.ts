/**
 * Live connections by certificate and by principal. Ends those of a revoked serial, of an expired
 * certificate, of an issuer whose status went stale or that is no longer trusted, and tells whoever
 * holds streams, sessions or stdio children for them.
 */
import type { TLSSocket } from 'node:tls';
import type { Clock, IssuerId, SerialHex } from '../../ca/ports.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { SallyportError } from '../errors.ts';
import type { RevocationChange, RevocationIndex } from '../revocation/revocation-index.ts';
import type { TrustStore, TrustedIssuer } from './trust.ts';
import type { VerifiedPeer } from './verified-peer.ts';
import { statusProblem } from './verify-peer.ts';

/** A certificate lost its right to be connected. Also told when no connection of it was open. */
export interface CutEvent {
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  /** `ERR_PEER_REVOKED`, `ERR_PEER_EXPIRED`, `ERR_PEER_STATUS_UNKNOWN` or `ERR_PEER_UNTRUSTED`. */
  readonly error: SallyportError;
  /** Number of sockets destroyed. */
  readonly connections: number;
  /** Of a certificate that was connected. */
  readonly peer: VerifiedPeer | undefined;
}

export interface ConnectionRegistryOptions {
  readonly index: RevocationIndex;
  readonly clock: Clock;
  readonly onUnknownStatus?: 'deny' | 'allow' | undefined;
}

interface Connection {
  /** Of a peer behind a proxy, the proxy's: HTTP/1.1 carries one request at a time, so ending it ends that request and no other. */
  readonly socket: TLSSocket;
  readonly peer: VerifiedPeer;
  readonly certificate: Certificate;
  readonly issuer: TrustedIssuer;
  readonly key: string;
  /** Index epoch of the last look. */
  epoch: number;
  abort: AbortController | undefined;
}

/** One timer for all: the clock may jump (suspend, NTP), so it never sleeps longer. */
const LONGEST_SLEEP_MS = 1_000;

export class ConnectionRegistry {
  readonly #options: ConnectionRegistryOptions;
  readonly #bySocket = new WeakMap<TLSSocket, Connection>();
  readonly #byCertificate = new Map<string, Set<Connection>>();
  readonly #byPrincipal = new Map<string, number>();
  readonly #listeners = new Set<(event: CutEvent) => void>();
  readonly #stopFollowing: () => void;
  #size = 0;
  #cutTotal = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: ConnectionRegistryOptions) {
    this.#options = options;
    this.#stopFollowing = options.index.onChange((change) => { this.#follow(change); });
  }

  get size(): number {
    return this.#size;
  }

  /** Sockets destroyed since the start, by any cause. */
  get cutTotal(): number {
    return this.#cutTotal;
  }

  /** Live connections of a principal. */
  countOf(principalId: string): number {
    return this.#byPrincipal.get(principalId) ?? 0;
  }

  peerOf(socket: TLSSocket): VerifiedPeer | undefined {
    return this.#bySocket.get(socket)?.peer;
  }

  /** Keeps a connection until its socket closes. Called by the listener with what `verifyPeer` answered. */
  add(socket: TLSSocket, verdict: { readonly peer: VerifiedPeer; readonly certificate: Certificate; readonly issuer: TrustedIssuer }, epoch: number): void {
    const connection = this.#keep(socket, verdict, epoch);
    this.#bySocket.set(socket, connection);
    socket.once('close', () => { this.#forget(connection); });
    if (socket.destroyed) this.#forget(connection);
  }

  /**
   * Keeps one request that a proxy carries for somebody else, to be cut with that certificate. Answers
   * with what ends it; or, when the certificate lost its right since it was judged, why.
   */
  addForwarded(socket: TLSSocket, verdict: { readonly peer: VerifiedPeer; readonly certificate: Certificate; readonly issuer: TrustedIssuer }): (() => void) | SallyportError {
    const problem = statusProblem(verdict.peer.principal, verdict.certificate, verdict.issuer, this.#options);
    if (problem !== undefined) return problem;
    const connection = this.#keep(socket, verdict, this.#options.index.epoch);
    return () => { this.#forget(connection); };
  }

  /**
   * Before each request: one comparison of integers while nothing changed, else one lookup. Undefined:
   * still good. Otherwise every connection of the certificate has been cut when this returns.
   */
  check(socket: TLSSocket): SallyportError | undefined {
    const connection = this.#bySocket.get(socket);
    if (connection === undefined) {
      return new SallyportError('ERR_PEER_UNTRUSTED', 'the connection was never verified or has been cut: connect again');
    }
    return this.#check(connection);
  }

  #check(connection: Connection): SallyportError | undefined {
    const { index, clock } = this.#options;
    const now = clock.now().getTime();
    if (connection.epoch === index.epoch && now < connection.peer.expiresAt && this.#isFresh(connection, now)) return undefined;
    const problem = this.#problemOf(connection);
    const { issuerId, serial } = connection.peer.principal;
    if (problem !== undefined) this.#cutKey(connection.key, issuerId, serial, problem);
    return problem;
  }

  /** What is not surely fresh is looked up. */
  #isFresh({ peer, issuer: { anchor, certified } }: Connection, now: number): boolean {
    const { index, onUnknownStatus } = this.#options;
    // Of the CAs above somebody must go on saying that they are not revoked, as at the handshake.
    if (anchor !== undefined && certified.some(({ issuerId, certificate }) => !anchor.vouchesFor(certificate) && now >= index.freshUntil(issuerId))) return false;
    return now < index.freshUntil(peer.principal.issuerId) || onUnknownStatus === 'allow' || anchor?.statusOptional === true;
  }

  /** Destroys every connection of a certificate and says how many. */
  cut(issuerId: IssuerId, serial: SerialHex, error: SallyportError = revokedError(issuerId, serial)): number {
    return this.#cutKey(keyOf(issuerId, serial), issuerId, serial, error);
  }

  /** Looks at every live connection again; with a trust store also at who issued it. Says how many were cut. */
  recheck(trust?: TrustStore): number {
    const before = this.#cutTotal;
    for (const [key, siblings] of this.#byCertificate) {
      const [first] = siblings;
      if (first === undefined) continue;
      const { issuerId, serial } = first.peer.principal;
      const untrusted = trust !== undefined && !trust.trusts(first.certificate, first.issuer, this.#options.clock.now());
      const problem = untrusted
        ? new SallyportError('ERR_PEER_UNTRUSTED', 'the issuer of the client certificate is no longer trusted: enroll with a trusted one', { facts: { issuer: issuerId, serial } })
        : this.#problemOf(first);
      if (problem !== undefined) this.#cutKey(key, issuerId, serial, problem);
      else for (const connection of siblings) connection.epoch = this.#options.index.epoch;
    }
    return this.#cutTotal - before;
  }

  /** Every loss of right, for whoever holds something on behalf of a certificate. The answer stops the calls. */
  onCut(listener: (event: CutEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => { this.#listeners.delete(listener); };
  }

  /** Aborted with the coded reason when the connection is cut, and without one when it just closes. */
  signalOf(socket: TLSSocket): AbortSignal {
    const connection = this.#bySocket.get(socket);
    if (connection === undefined || socket.destroyed) return AbortSignal.abort();
    connection.abort ??= new AbortController();
    return connection.abort.signal;
  }

  /** Destroys what is left and stops following the index. */
  close(): void {
    this.#closed = true;
    this.#stopFollowing();
    clearTimeout(this.#timer);
    for (const siblings of this.#byCertificate.values()) for (const { socket } of siblings) socket.destroy();
    this.#listeners.clear();
  }

  /** Certificates that are connected now, each once. */
  certificates(): readonly { readonly certificate: Certificate; readonly issuer: TrustedIssuer }[] {
    return [...this.#byCertificate.values()].flatMap(([first]) => (first === undefined ? [] : [{ certificate: first.certificate, issuer: first.issuer }]));
  }

  #keep(socket: TLSSocket, { peer, certificate, issuer }: { readonly peer: VerifiedPeer; readonly certificate: Certificate; readonly issuer: TrustedIssuer }, epoch: number): Connection {
    const key = keyOf(peer.principal.issuerId, peer.principal.serial);
    const connection: Connection = { socket, peer, certificate, issuer, key, epoch, abort: undefined };
    const siblings = this.#byCertificate.get(key);
    if (siblings === undefined) this.#byCertificate.set(key, new Set([connection]));
    else siblings.add(connection);
    this.#size += 1;
    this.#byPrincipal.set(peer.principal.id, this.countOf(peer.principal.id) + 1);
    this.#schedule(peer.expiresAt);
    return connection;
  }

  #follow({ issuerId, serials }: RevocationChange): void {
    if (serials === 'all') {
      this.recheck();
      return;
    }
    for (const serial of serials) {
      this.cut(issuerId, serial);
      this.#cutBelow(issuerId, serial);
    }
  }

  /** A revoked serial may be that of an issuing CA, or of one above it. */
  #cutBelow(issuerId: IssuerId, serial: SerialHex): void {
    for (const [first] of this.#byCertificate.values()) {
      if (first !== undefined && first.issuer.certified.some((each) => each.issuerId === issuerId && each.serial === serial)) {
        this.recheck();
        return;
      }
    }
  }

  #problemOf(connection: Connection): SallyportError | undefined {
    const problem = statusProblem(connection.peer.principal, connection.certificate, connection.issuer, this.#options);
    if (problem === undefined) connection.epoch = this.#options.index.epoch;
    return problem;
  }

  #cutKey(key: string, issuerId: IssuerId, serial: SerialHex, error: SallyportError): number {
    const siblings = [...(this.#byCertificate.get(key) ?? [])];
    for (const connection of siblings) {
      this.#forget(connection, error);
      connection.socket.destroy();
    }
    this.#cutTotal += siblings.length;
    const event: CutEvent = { issuerId, serial, error, connections: siblings.length, peer: siblings[0]?.peer };
    for (const listener of this.#listeners) listener(event);
    return siblings.length;
  }

  #forget(connection: Connection, error?: SallyportError): void {
    const siblings = this.#byCertificate.get(connection.key);
    if (siblings?.delete(connection) !== true) return;
    if (this.#bySocket.get(connection.socket) === connection) this.#bySocket.delete(connection.socket);
    if (siblings.size === 0) this.#byCertificate.delete(connection.key);
    this.#size -= 1;
    const { id } = connection.peer.principal;
    const left = this.countOf(id) - 1;
    if (left > 0) this.#byPrincipal.set(id, left);
    else this.#byPrincipal.delete(id);
    connection.abort?.abort(error);
  }

  /** Runs at the next expiry or after the longest sleep, and only while connections live. */
  #schedule(expiresAt: number): void {
    if (this.#closed || this.#size === 0) return;
    const now = this.#options.clock.now().getTime();
    const sleep = Math.min(LONGEST_SLEEP_MS, Math.max(1, expiresAt - now));
    if (this.#timer !== undefined) {
      if (sleep === LONGEST_SLEEP_MS) return;
      clearTimeout(this.#timer);
    }
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#sweep();
    }, sleep).unref();
  }

  /** Connections are few next to what a second holds: one comparison each. */
  #sweep(): void {
    const now = this.#options.clock.now().getTime();
    let next = Number.POSITIVE_INFINITY;
    for (const [first] of this.#byCertificate.values()) {
      if (first === undefined) continue;
      const { expiresAt } = first.peer;
      if (now >= expiresAt || !this.#isFresh(first, now)) this.#check(first);
      else next = Math.min(next, expiresAt);
    }
    this.#schedule(next);
  }
}

const keyOf = (issuerId: IssuerId, serial: SerialHex): string => `${issuerId}:${serial}`;

const revokedError = (issuerId: IssuerId, serial: SerialHex): SallyportError =>
  new SallyportError('ERR_PEER_REVOKED', 'the client certificate was revoked: enroll again', { facts: { issuer: issuerId, serial } });
