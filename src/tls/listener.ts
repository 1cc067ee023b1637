/**
 * The mutual-TLS port. OpenSSL proves a path and possession of the key; our verdict follows on
 * `secureConnection`, before a byte of what the peer says is read. Only verified sockets leave here.
 */
import { constants } from 'node:crypto';
import type { X509Certificate } from 'node:crypto';
import { createSecureContext, createServer } from 'node:tls';
import type { SecureContextOptions, Server, TLSSocket, TlsOptions } from 'node:tls';
import type { Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import type { RevocationIndex } from '../revocation/revocation-index.ts';
import { ConnectionRegistry } from './connections.ts';
import { RefusalBudget } from './refusal-budget.ts';
import type { RefusalBudgetOptions } from './refusal-budget.ts';
import { answerRefusal } from './refusal.ts';
import { MAX_CHAIN } from './trust-anchor.ts';
import type { TrustStore } from './trust.ts';
import type { VerifiedPeer } from './verified-peer.ts';
import { verifyPeer } from './verify-peer.ts';
import type { PeerChecks, PeerDescription, PeerFacts, PeerVerdict } from './verify-peer.ts';

/** The gateway's own key and certificate chain, in PEM. */
export interface ServerIdentity {
  readonly key: string | Buffer;
  /** Passphrase of an encrypted key. */
  readonly passphrase?: string | undefined;
  /** Leaf first, then issuing CA. */
  readonly cert: string | Buffer;
}

export interface RefusedPeer extends PeerDescription {
  readonly error: SallyportError;
  readonly resumed: boolean;
  /** Refusals of strangers since the last report that were not reported themselves. */
  readonly suppressed: number;
}

export interface TlsListenerOptions extends ServerIdentity {
  readonly trust: TrustStore;
  readonly index: RevocationIndex;
  readonly clock: Clock;
  /** For the audit log. Strangers (no certificate, no trusted path, failed handshakes) within `refusalBudget`, everyone else always. */
  readonly onRefused: (refused: RefusedPeer) => void;
  readonly isKnown?: PeerChecks['isKnown'];
  readonly askStatus?: PeerChecks['askStatus'];
  readonly onBorrowedTime?: PeerChecks['onBorrowedTime'];
  readonly onUnknownStatus?: 'deny' | 'allow' | undefined;
  /** Default `TLSv1.3`. */
  readonly minVersion?: 'TLSv1.3' | 'TLSv1.2' | undefined;
  /**
   * Default `none`: every connection is a full handshake. `keys`: 48 bytes shared by all nodes; the
   * certificate of a resumed session is verified again all the same.
   */
  readonly sessionTickets?: 'none' | { readonly keys: Buffer } | undefined;
  /** Default 10,000. */
  readonly handshakeTimeoutMs?: number | undefined;
  /** Open sockets, verified or not. Default 10,000. */
  readonly maxConnections?: number | undefined;
  /** Default 50 a second, 200 at once. */
  readonly refusalBudget?: RefusalBudgetOptions | undefined;
}

export interface TlsListener {
  readonly server: Server;
  readonly connections: ConnectionRegistry;
  /** Called once for each verified connection, before anything was read from it. One receiver. */
  onPeer(receiver: (socket: TLSSocket, peer: VerifiedPeer) => void): void;
  peerOf(socket: TLSSocket): VerifiedPeer | undefined;
  /**
   * The same verdict on a socket that another server accepted with `requestCert`; a verified one is
   * kept and cut like our own. Answers why it is refused; the caller ends it then.
   */
  adopt(socket: TLSSocket): Promise<SallyportError | undefined>;
  /**
   * The verdict on a certificate that a peer, as a proxy that proved to be one, names as that of the
   * caller of one request. A verified one is kept, to be cut with its certificate, until `release`;
   * a refused one is reported.
   */
  admitForwarded(socket: TLSSocket, forwarded: { readonly certificate: Uint8Array; readonly chain: readonly Uint8Array[] }, proxy: VerifiedPeer): Promise<{ readonly peer: VerifiedPeer; readonly release: () => void } | SallyportError>;
  /** @throws SallyportError `ERR_LISTEN_ADDRESS` */
  listen(port: number, host: string): Promise<{ readonly host: string; readonly port: number }>;
  /**
   * Exchanges key, certificate and trust in one step and cuts peers whose issuer left.
   * @throws SallyportError `ERR_CONFIG_INVALID`; the old ones stay in use
   */
  reload(next: ServerIdentity & { readonly trust: TrustStore }): void;
  /** No new connections; those there live on. */
  stop(): void;
  /** Stops and destroys what is left. */
  close(): Promise<void>;
}

const DEFAULT_HANDSHAKE_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_CONNECTIONS = 10_000;
const DEFAULT_BUDGET: RefusalBudgetOptions = { perSecond: 50, burst: 200 };
const SUPPRESSED_REPORT_MS = 10_000;

/** Whoever cannot prove to be one of ours gets no unbounded space in the audit log. */
const strangers: ReadonlySet<string> = new Set(['ERR_PEER_NO_CERTIFICATE', 'ERR_PEER_UNTRUSTED', 'ERR_PEER_ISSUER', 'ERR_PEER_HANDSHAKE']);

export const createTlsListener = (options: TlsListenerOptions): TlsListener => {
  const { index, clock } = options;
  const handshakeTimeout = options.handshakeTimeoutMs ?? DEFAULT_HANDSHAKE_TIMEOUT_MS;
  let { trust } = options;
  let receive: ((socket: TLSSocket, peer: VerifiedPeer) => void) | undefined;
  const connections = new ConnectionRegistry({ index, clock, onUnknownStatus: options.onUnknownStatus });
  const unverified = new Set<TLSSocket>();
  const budget = new RefusalBudget(clock, options.refusalBudget ?? DEFAULT_BUDGET);

  const checksNow = (): PeerChecks => ({ trust, index, clock, isKnown: options.isKnown, askStatus: options.askStatus, onBorrowedTime: options.onBorrowedTime, onUnknownStatus: options.onUnknownStatus });

  const report = (error: SallyportError, facts: PeerDescription, resumed: boolean): void => {
    const suppressed = strangers.has(error.code) ? budget.take() : 0;
    if (suppressed !== undefined) options.onRefused({ ...facts, error, resumed, suppressed });
  };
  const reportSuppressed = setInterval(() => {
    const suppressed = budget.drain();
    if (suppressed > 0) options.onRefused({ ...nobody, error: new SallyportError('ERR_PEER_HANDSHAKE', 'refusals of strangers were too many to report one by one: see their number'), resumed: false, suppressed });
  }, SUPPRESSED_REPORT_MS).unref();

  const context = contextOptions(options, options, trust);
  checkIdentity(context);
  const server = createServer({
    ...context,
    requestCert: true,
    // We decide, and can then say who was refused and why.
    rejectUnauthorized: false,
    handshakeTimeout,
    // As Node's own HTTPS server: else an event written after its head waits 40 ms for the peer's delayed ACK.
    noDelay: true,
    ALPNProtocols: ['http/1.1'],
  });
  server.maxConnections = options.maxConnections ?? DEFAULT_MAX_CONNECTIONS;

  const conclude = (socket: TLSSocket, verdict: PeerVerdict, epoch: number, resumed: boolean): void => {
    unverified.delete(socket);
    if (socket.destroyed) return;
    if (!verdict.ok) {
      report(verdict.error, verdict.facts, resumed);
      answerRefusal(socket, verdict.error);
      return;
    }
    if (receive === undefined) {
      socket.destroy();
      return;
    }
    connections.add(socket, verdict, epoch);
    receive(socket, verdict.peer);
  };

  server.on('secureConnection', (socket) => {
    socket.on('error', ignore);
    const resumed = socket.isSessionReused();
    const { epoch } = index;
    const checks = checksNow();
    const verdict = verifyPeer(factsOf(socket, resumed), checks);
    if (!(verdict instanceof Promise)) {
      conclude(socket, verdict, epoch, resumed);
      return;
    }
    unverified.add(socket);
    const timer = setTimeout(() => { socket.destroy(); }, handshakeTimeout).unref();
    socket.once('close', () => { unverified.delete(socket); });
    void verdict.then((concluded) => {
      clearTimeout(timer);
      // The answer took a while, and trust may have been exchanged meanwhile.
      if (concluded.ok && checks.trust !== trust && !trust.trusts(concluded.certificate, concluded.issuer, clock.now())) socket.destroy();
      else conclude(socket, concluded, epoch, resumed);
    });
  });

  server.on('tlsClientError', (cause: NodeJS.ErrnoException, socket) => {
    socket.on('error', ignore);
    report(
      new SallyportError('ERR_PEER_HANDSHAKE', 'the TLS handshake failed: see the reason OpenSSL gives', { facts: { reason: cause.code ?? cause.message }, cause }),
      { ...nobody, address: socket.remoteAddress }, false);
    socket.destroy();
  });
  server.on('drop', (data) => {
    report(new SallyportError('ERR_PEER_HANDSHAKE', 'the gateway holds as many connections as it may: raise maxConnections or find who opens them', {
      facts: { reason: 'maxConnections' },
    }), { ...nobody, address: data?.remoteAddress }, false);
  });

  return {
    server,
    connections,
    onPeer: (receiver) => { receive = receiver; },
    peerOf: (socket) => connections.peerOf(socket),
    adopt: async (socket) => {
      if (connections.peerOf(socket) !== undefined) return undefined;
      const resumed = socket.isSessionReused();
      const { epoch } = index;
      const verdict = await verifyPeer(factsOf(socket, resumed), checksNow());
      if (!verdict.ok) {
        report(verdict.error, verdict.facts, resumed);
        return verdict.error;
      }
      // Requests may follow one another on the socket while the first is being verified.
      if (connections.peerOf(socket) === undefined) connections.add(socket, verdict, epoch);
      return undefined;
    },
    admitForwarded: async (socket, { certificate, chain }, proxy) => {
      const facts: PeerFacts = { certificate, chain: () => chain, opensslError: undefined, remoteAddress: socket.remoteAddress, resumed: false, via: proxy.principal.id };
      const checks = checksNow();
      const verdict = await verifyPeer(facts, checks);
      if (!verdict.ok) {
        report(verdict.error, { ...verdict.facts, via: proxy.principal.id }, false);
        return verdict.error;
      }
      // The answer took a while, and trust may have been exchanged meanwhile.
      if (checks.trust !== trust && !trust.trusts(verdict.certificate, verdict.issuer, clock.now())) return new SallyportError('ERR_PEER_UNTRUSTED', 'the issuer of the client certificate is no longer trusted: enroll with a trusted one');
      const release = connections.addForwarded(socket, verdict);
      return release instanceof SallyportError ? release : { peer: verdict.peer, release };
    },
    listen: (port, host) => listen(server, port, host),
    reload: (next) => {
      const nextContext = contextOptions(next, options, next.trust);
      checkIdentity(nextContext);
      server.setSecureContext(nextContext);
      trust = next.trust;
      connections.recheck(trust);
    },
    stop: () => { if (server.listening) server.close(); },
    close: async () => {
      clearInterval(reportSuppressed);
      const closed = server.listening ? new Promise<void>((resolve) => { server.close(() => { resolve(); }); }) : Promise.resolve();
      connections.close();
      for (const socket of unverified) socket.destroy();
      await closed;
    },
  };
};

const factsOf = (socket: TLSSocket, resumed: boolean): PeerFacts => {
  const certificate = socket.getPeerX509Certificate();
  return { certificate: certificate?.raw, chain: () => chainOf(certificate), opensslError: opensslErrorOf(socket), remoteAddress: socket.remoteAddress, resumed };
};

/** What the peer sent beside its certificate, as far as one was issued by the next. */
const chainOf = (leaf: X509Certificate | undefined): readonly Uint8Array[] => {
  const chain: Uint8Array[] = [];
  for (let at = leaf?.issuerCertificate; at !== undefined && chain.length < MAX_CHAIN; at = at.issuerCertificate) chain.push(at.raw);
  return chain;
};

const nobody: PeerDescription = { subject: undefined, serial: undefined, issuer: undefined, thumbprint: undefined, address: undefined };

const ignore = (): void => {};

const contextOptions = (identity: ServerIdentity, options: TlsListenerOptions, trust: TrustStore): SecureContextOptions & Pick<TlsOptions, 'ticketKeys'> => {
  const tickets = options.sessionTickets ?? 'none';
  return {
    key: identity.key,
    cert: identity.cert,
    ...(identity.passphrase === undefined ? {} : { passphrase: identity.passphrase }),
    ca: [...trust.authorities],
    minVersion: options.minVersion ?? 'TLSv1.3',
    honorCipherOrder: true,
    // A renegotiation of TLS 1.2 could bring another certificate after the check.
    // With NO_TICKET a TLS 1.3 ticket only names a session, and Node keeps none: no resumption in either version.
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (tickets === 'none' ? constants.SSL_OP_NO_TICKET : 0),
    // All nodes that share ticket keys must agree on it.
    sessionIdContext: 'sallyport',
    ...(tickets === 'none' ? {} : { ticketKeys: tickets.keys }),
  };
};

/** `setSecureContext` is not atomic by itself, so a pair is tried before it is put in place. */
const checkIdentity = (context: SecureContextOptions): void => {
  try {
    createSecureContext(context);
  } catch (cause) {
    throw new SallyportError('ERR_CONFIG_INVALID', 'the server key and certificate cannot be used together: check that they are a pair in PEM', { cause });
  }
};

/** Types say `Error`; Node gives the code as a string. */
const opensslErrorOf = (socket: TLSSocket): string | undefined => {
  if (socket.authorized) return undefined;
  const error: unknown = socket.authorizationError;
  return error === null || error === undefined ? 'UNSPECIFIED' : String(error);
};

const listen = (server: Server, port: number, host: string): Promise<{ host: string; port: number }> =>
  new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException): void => {
      reject(new SallyportError('ERR_LISTEN_ADDRESS', `cannot listen on ${host}:${port}: choose another address or end what listens there`, {
        facts: { host, port, reason: cause.code }, cause,
      }));
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.off('error', failed);
      const address = server.address();
      resolve({ host, port: typeof address === 'object' && address !== null ? address.port : port });
    });
  });
