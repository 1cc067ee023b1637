/** One approach to the gate over a real TLS connection, and what came of it. */
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { explainFailure, isVerdict, readAnswer, systemCodeOf } from '../bridge/explain.ts';

/** The gate. */
export interface Target {
  readonly url: URL;
  /** PEM of the root its certificate should lead to. */
  readonly root: string;
  readonly timeoutMs: number;
}

/** What is shown to the gate. */
export interface Approach {
  /** PEM; none at all without it. */
  readonly identity?: Identity | undefined;
  /** A session of an earlier connection, to be resumed. */
  readonly session?: Buffer | undefined;
  /** Exactly this version. Default: what both sides prefer. */
  readonly version?: TlsVersion | undefined;
}

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

export interface Identity {
  readonly key: string;
  /** Leaf first. */
  readonly cert: string;
}

export type Verdict =
  /** `code` is undefined when the gate gave no reason that we know; `how` says in words what it did. */
  | { readonly kind: 'refused'; readonly code: string | undefined; readonly how: string }
  | { readonly kind: 'admitted'; readonly how: string }
  /** No TLS server there, or none that answers in time. */
  | { readonly kind: 'unreachable'; readonly why: string };

export interface Encounter {
  readonly verdict: Verdict;
  /** The session offered was taken up. */
  readonly resumed: boolean;
  /** Undefined when the handshake did not come that far. */
  readonly version: string | undefined;
  /** The group of the key exchange; undefined where this Node.js does not say. */
  readonly group: string | undefined;
  /** The last session the gate offered for later. */
  readonly session: Buffer | undefined;
  /** The certificate of the other side; `problem` is what keeps it from being our gateway. */
  readonly server: { readonly der: Uint8Array; readonly problem: unknown } | undefined;
}

/** Connects, asks for the path of the URL, reads the answer and hangs up. Whatever the other side does is a verdict. */
export const approach = (target: Target, how: Approach = {}): Promise<Encounter> =>
  new Promise((resolve) => {
    const conversation = converse(target, how, 'close', (verdict) => {
      const { socket, handshake } = conversation;
      const encounter: Encounter = { verdict, ...handshake() };
      socket.destroy();
      resolve(encounter);
    });
  });

/** A connection that was let in and stays open. */
export interface HeldConnection {
  readonly verdict: Verdict;
  /** Resolves when the gate closes it, or with `false` after the time given. */
  closed(withinMs: number): Promise<boolean>;
  release(): void;
}

/** Connects, gets one answer and stays. */
export const hold = (target: Target, how: Approach): Promise<HeldConnection> =>
  new Promise((resolve) => {
    const { socket } = converse(target, how, 'keep-alive', (verdict) => {
      const ended = new Promise<true>((done) => {
        const end = (): void => done(true);
        if (socket.destroyed || socket.readableEnded) end();
        else socket.once('end', end).once('close', end);
      });
      resolve({
        verdict,
        closed: (withinMs) => {
          const { promise, resolve: elapsed } = Promise.withResolvers<false>();
          const timer = setTimeout(() => elapsed(false), withinMs);
          return Promise.race([ended, promise]).finally(() => clearTimeout(timer));
        },
        release: () => socket.destroy(),
      });
    });
  });

/** An answer that announces no length is taken for complete after this silence. */
const silenceMs = 250;
const maxAnswerOctets = 65_536;

interface Conversation {
  readonly socket: TLSSocket;
  readonly handshake: () => Omit<Encounter, 'verdict'>;
}

const converse = (target: Target, how: Approach, connection: 'close' | 'keep-alive', conclude: (verdict: Verdict) => void): Conversation => {
  const { url, timeoutMs } = target;
  const socket = connect(connectionOptions(target, how));
  const reached = { tcp: false, tls: false };
  let text = '';
  let concluded = false;
  let session: Buffer | undefined;
  let handshake: Omit<Encounter, 'verdict' | 'session'> = { resumed: false, version: undefined, group: undefined, server: undefined };
  let silence: NodeJS.Timeout | undefined;
  const finish = (verdict: Verdict): void => {
    if (concluded) return;
    concluded = true;
    clearTimeout(deadline);
    clearTimeout(silence);
    // Later, so that a refusal of `connect` itself is not told before the caller has the socket.
    setImmediate(conclude, verdict);
  };
  const deadline = setTimeout(() => {
    if (answerOf(text) !== undefined) finish(verdictOf(text));
    else if (reached.tls) finish({ kind: 'admitted', how: `kept open for ${timeoutMs} ms without an answer` });
    else finish({ kind: 'unreachable', why: `no answer within ${timeoutMs} ms` });
  }, timeoutMs);
  const ended = (error: unknown): void => {
    finish(answerOf(text) === undefined ? failureVerdict(error, url, reached) : verdictOf(text));
  };

  socket.on('connect', () => {
    reached.tcp = true;
  });
  socket.on('session', (offered: Buffer) => {
    session = offered;
  });
  socket.on('secureConnect', () => {
    reached.tls = true;
    // A socket that was closed forgets.
    handshake = { resumed: socket.isSessionReused(), version: socket.getProtocol() ?? undefined, group: groupOf(socket), server: serverOf(socket) };
    socket.write(`GET ${url.pathname}${url.search} HTTP/1.1\r\nHost: ${url.host}\r\nAccept: application/json, text/event-stream\r\nUser-Agent: sallyport-doctor\r\nConnection: ${connection}\r\n\r\n`);
  });
  socket.on('data', (chunk: Buffer) => {
    if (concluded) return;
    text += chunk.toString('latin1');
    clearTimeout(silence);
    if (isComplete(text) || text.length > maxAnswerOctets) finish(verdictOf(text));
    else silence = setTimeout(() => {
      if (answerOf(text) !== undefined) finish(verdictOf(text));
    }, silenceMs);
  });
  socket.on('error', ended);
  socket.on('end', () => ended(undefined));
  socket.on('close', () => ended(undefined));
  return {
    socket,
    handshake: () => ({ ...handshake, session }),
  };
};

const connectionOptions = ({ url, root }: Target, { identity, session, version }: Approach): ConnectionOptions => {
  const host = url.hostname.replace(/^\[|\]$/gu, '');
  return {
    host,
    port: Number(url.port === '' ? 443 : url.port),
    // RFC 6066 §3: addresses are no server names.
    servername: /^[\d.]+$|:/u.test(host) ? '' : host,
    ca: root,
    // What the gate does to us is looked at even when its own certificate is wrong, which is reported apart.
    rejectUnauthorized: false,
    minVersion: version ?? 'TLSv1.2',
    maxVersion: version ?? 'TLSv1.3',
    ALPNProtocols: ['http/1.1'],
    ...(identity === undefined ? {} : { key: identity.key, cert: identity.cert }),
    ...(session === undefined ? {} : { session }),
  };
};

/** Of an exchange that has a name the types do not know of. */
const groupOf = (socket: TLSSocket): string | undefined => {
  const { name } = (socket.getEphemeralKeyInfo() ?? {}) as { readonly name?: unknown };
  return typeof name === 'string' ? name : undefined;
};

const serverOf = (socket: TLSSocket): Encounter['server'] => {
  const der = socket.getPeerX509Certificate()?.raw;
  if (der === undefined) return undefined;
  return { der: new Uint8Array(der), problem: socket.authorized ? undefined : socket.authorizationError };
};

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** Undefined until the whole head is there. */
const answerOf = (text: string): Answer | undefined => {
  const end = text.indexOf('\r\n\r\n');
  const status = /^HTTP\/1\.[01] (\d{3})/u.exec(text)?.[1];
  return end < 0 || status === undefined ? undefined : { status: Number(status), head: text.slice(0, end), body: text.slice(end + 4) };
};

const isComplete = (text: string): boolean => {
  const answer = answerOf(text);
  const length = /\r\ncontent-length: *(\d+)/iu.exec(answer?.head ?? '')?.[1];
  return answer !== undefined && length !== undefined && answer.body.length >= Number(length);
};

const verdictOf = (text: string): Verdict => {
  const answer = answerOf(text);
  if (answer === undefined) return { kind: 'admitted', how: 'answered, but not in HTTP' };
  const read = readAnswer(answer.status, answer.body);
  if (isVerdict(read)) return { kind: 'refused', code: String(read.code), how: read.message ?? String(read.code) };
  return { kind: 'admitted', how: `answered HTTP ${answer.status}` };
};

/** Of a connection that ended before an answer came. */
const failureVerdict = (error: unknown, url: URL, reached: { readonly tcp: boolean; readonly tls: boolean }): Verdict => {
  const code = systemCodeOf(error);
  const alert = /ALERT_([A-Z_]+)$/u.exec(code)?.[1];
  if (alert !== undefined) {
    const reason = explainFailure(error, { url }).facts['reason'];
    return { kind: 'refused', code: alert === 'PROTOCOL_VERSION' ? alert : isPeerCode(reason) ? reason : undefined, how: `TLS alert: ${alert.toLowerCase().replaceAll('_', ' ')}` };
  }
  if (reached.tls || (reached.tcp && (error === undefined || code === 'ECONNRESET' || code === 'EPIPE'))) return { kind: 'refused', code: undefined, how: 'the connection was closed without a word' };
  return { kind: 'unreachable', why: /^E(?!RR_)[A-Z]+$/u.test(code) ? code : explainFailure(error, { url }).message };
};

const isPeerCode = (reason: unknown): reason is string => typeof reason === 'string' && reason.startsWith('ERR_PEER_') && reason !== 'ERR_PEER_HANDSHAKE';
