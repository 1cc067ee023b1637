/** Dials the gateway as nobody's bridge would: with any certificate or none, and reports what came back. */
import { request } from 'node:https';
import type { RequestOptions } from 'node:https';
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

export interface Credentials {
  readonly ca: string;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** TLS session of an earlier connection, to be resumed. */
  readonly session?: Buffer | undefined;
}

export interface Attempt {
  readonly status: number | undefined;
  /** Our code, or the error of TLS or TCP. */
  readonly code: string;
  readonly message: string;
  /** Whether the TLS session was resumed. */
  readonly resumed: boolean;
}

const initialize = JSON.stringify({
  jsonrpc: '2.0', id: 1, method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'sallyport-demo', version: '1.0.0' } },
});

const optionsOf = (credentials: Credentials, more: RequestOptions): RequestOptions => ({
  ca: credentials.ca,
  ...(credentials.cert === undefined ? {} : { cert: credentials.cert, key: credentials.key }),
  ...(credentials.session === undefined ? {} : { session: credentials.session }),
  agent: false,
  ...more,
});

/** One handshake and one `initialize`. */
export const attempt = (url: string, credentials: Credentials): Promise<Attempt> =>
  new Promise((resolve) => {
    let resumed = false;
    const failed = (error: NodeJS.ErrnoException): void => resolve({ status: undefined, code: error.code ?? 'ERR_CONNECTION', message: error.message, resumed });
    const call = request(url, optionsOf(credentials, {
      method: 'POST', timeout: 5_000,
      headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'content-length': Buffer.byteLength(initialize) },
    }), (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', failed);
      response.on('end', () => resolve({ status: response.statusCode, ...problemIn(Buffer.concat(chunks).toString('utf8')), resumed }));
    });
    call.on('socket', (socket) => socket.on('secureConnect', () => {
      resumed = (socket as TLSSocket).isSessionReused();
    }));
    call.on('timeout', () => call.destroy(new Error('no answer within 5 seconds')));
    call.on('error', failed);
    call.end(initialize);
  });

const problemIn = (body: string): { code: string; message: string } => {
  try {
    const { error } = JSON.parse(body) as { error?: { code?: unknown; message?: unknown; data?: { code?: unknown } } };
    const code = error?.data?.code ?? error?.code;
    return { code: typeof code === 'string' ? code : 'none', message: typeof error?.message === 'string' ? error.message : '' };
  } catch {
    return { code: 'none', message: '' };
  }
};

export interface OpenStream {
  /** Of the TLS session, when the gateway gave a ticket. */
  readonly session: () => Buffer | undefined;
  /** Resolves with `performance.now()` of the moment the stream ended. */
  readonly ended: Promise<number>;
  close(): void;
}

/** A session of its own with its GET stream open, as an MCP client waiting for notifications has it. */
export const openStream = async (url: string, credentials: Credentials): Promise<OpenStream> => {
  let ticket: Buffer | undefined;
  const keepTicket = (call: ClientRequest): void => void call.on('socket', (socket) => socket.on('session', (session: Buffer) => {
    ticket = session;
  }));
  const headers = { accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
  const answer = await send(url, optionsOf(credentials, { method: 'POST', headers: { ...headers, 'content-length': Buffer.byteLength(initialize) } }), initialize, keepTicket);
  answer.resume();
  const sessionId = answer.headers['mcp-session-id'];
  if (typeof sessionId !== 'string') throw new Error(`the gateway opened no session (HTTP ${answer.statusCode})`);
  const stream = await send(url, optionsOf(credentials, {
    method: 'GET', headers: { accept: 'text/event-stream', 'mcp-session-id': sessionId, 'mcp-protocol-version': '2025-11-25' },
  }), undefined, keepTicket);
  if (stream.statusCode !== 200) throw new Error(`the gateway opened no stream (HTTP ${stream.statusCode})`);
  const ended = new Promise<number>((resolve) => {
    stream.once('close', () => resolve(performance.now()));
    stream.once('error', () => resolve(performance.now()));
    stream.resume();
  });
  return { session: () => ticket, ended, close: () => stream.destroy() };
};

const send = (url: string, options: RequestOptions, body: string | undefined, onCall: (call: ClientRequest) => void): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const call = request(url, options, resolve);
    onCall(call);
    call.on('error', reject);
    call.end(body);
  });
