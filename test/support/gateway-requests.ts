/** Requests to a gateway exactly as a test writes them, and sessions made of them. */
import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { once } from 'node:events';
import { SseDecoder } from '../../src/mcp/sse.ts';
import type { SseEvent } from '../../src/upstream/upstream.ts';
import type { TestGateway } from './gateway.ts';
import type { TestIdentity } from './pki.ts';

export interface RawRequest {
  readonly method?: string;
  readonly path?: string;
  /** Sent besides `host`, in this order; a name may appear twice. An undefined value takes a default away. */
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string | Uint8Array | object;
  readonly agent?: Agent;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** Messages of the answer, JSON or SSE. */
  readonly messages: readonly Answered[];
  /** The one message with an id that answers a request. */
  readonly answer: Answered;
  readonly events: readonly SseEvent[];
}

export interface Answered {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

/** Names, or URIs, in the answer to a list request. */
export const namesIn = ({ result }: Answered, list: 'tools' | 'prompts' | 'resources' | 'resourceTemplates'): readonly string[] =>
  ((result ?? {})[list] as readonly { name: string; uri?: string; uriTemplate?: string }[]).map(({ name, uri, uriTemplate }) => uri ?? uriTemplate ?? name);

/** The text of a tool's result. */
export const textIn = ({ result, error }: Answered): string => {
  const content = (result ?? {})['content'] as readonly { text?: string }[] | undefined;
  return content?.[0]?.text ?? `error ${JSON.stringify(error)}`;
};

export const jsonHeaders: readonly (readonly [string, string])[] = [['content-type', 'application/json'], ['accept', 'application/json, text/event-stream']];

const optionsOf = (gateway: TestGateway, identity: TestIdentity) => ({
  host: '127.0.0.1', port: gateway.port, servername: 'localhost', ca: gateway.pki.root.certPem, key: identity.keyPem, cert: identity.chainPem,
});

const headersOf = (gateway: TestGateway, { headers = jsonHeaders, body }: RawRequest, text: Uint8Array | undefined): string[] => [
  ...(headers.some(([name]) => name === 'host') ? [] : ['host', `localhost:${gateway.port}`]),
  ...headers.flat(),
  ...(body === undefined || text === undefined || headers.some(([name]) => name === 'content-length' || name === 'transfer-encoding') ? [] : ['content-length', String(text.length)]),
];

const textOf = (body: RawRequest['body']): Uint8Array | undefined =>
  body === undefined ? undefined : body instanceof Uint8Array ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));

/** Sends it and resolves with the head of the answer; the body is still to be read. */
export const dial = (gateway: TestGateway, identity: TestIdentity, raw: RawRequest = {}): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const text = textOf(raw.body);
    const sent = httpsRequest({
      ...optionsOf(gateway, identity), method: raw.method ?? 'POST', path: raw.path ?? gateway.url.pathname, agent: raw.agent ?? false, setHost: false,
      headers: headersOf(gateway, raw, text),
    });
    sent.once('response', resolve).once('error', reject);
    sent.end(text);
  });

/** Sends it and reads the answer to its end. */
export const rawRequest = async (gateway: TestGateway, identity: TestIdentity, raw: RawRequest = {}): Promise<RawAnswer> => {
  const response = await dial(gateway, identity, raw);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString('utf8');
  const events = response.headers['content-type'] === 'text/event-stream' ? new SseDecoder({ maxEventBytes: 1e7 }).push(Buffer.from(body)) : [];
  const texts = response.headers['content-type'] === 'text/event-stream' ? events.map(({ data }) => data).filter((data) => data !== '') : body === '' ? [] : [body];
  const messages = texts.flatMap((text) => JSON.parse(text) as Answered | readonly Answered[]);
  return {
    status: response.statusCode ?? 0, headers: response.headers, body, messages, events,
    get answer() {
      const found = messages.filter((message) => message.method === undefined);
      const [one] = found;
      if (one === undefined || found.length > 1) throw new Error(`expected one answer: ${response.statusCode} ${body}`);
      return one;
    },
  };
};

/** What a bare TLS connection is sent back for these octets, until it closes or `until` is seen. */
export const rawExchange = async (gateway: TestGateway, identity: TestIdentity, octets: string, options: { readonly until?: RegExp; readonly timeoutMs?: number } = {}): Promise<string> => {
  const socket = await rawSocket(gateway, identity);
  let received = '';
  const closed = once(socket, 'close');
  socket.on('error', () => undefined);
  const seen = new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1');
      if (options.until?.test(received) === true) resolve();
    });
  });
  socket.write(octets);
  await Promise.race([closed, seen, new Promise((resolve) => setTimeout(resolve, options.timeoutMs ?? 3_000))]);
  socket.destroy();
  return received;
};

export const rawSocket = async (gateway: TestGateway, identity: TestIdentity): Promise<TLSSocket> => {
  const socket = connect({ ...optionsOf(gateway, identity), ALPNProtocols: ['http/1.1'] });
  await once(socket, 'secureConnect');
  return socket;
};

export const initializeMessage = (protocolVersion = '2025-11-25', capabilities: object = {}): object =>
  ({ jsonrpc: '2.0', id: 'init', method: 'initialize', params: { protocolVersion, capabilities, clientInfo: { name: 'test', version: '1' } } });

export const callMessage = (id: string | number, name: string, args: object = {}, meta?: object): object =>
  ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) } });

/** An MCP session held by hand. */
export interface RawSession {
  /** Undefined when the server has none. */
  readonly id: string | undefined;
  readonly revision: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly initialized: RawAnswer;
  post(body: RawRequest['body'], options?: Partial<RawRequest>): Promise<RawAnswer>;
  /** Opens a stream: GET unless a body is given. */
  stream(options?: Partial<RawRequest> & { readonly lastEventId?: string }): Promise<RawStream>;
  end(options?: Partial<RawRequest>): Promise<RawAnswer>;
}

export const openSession = async (
  gateway: TestGateway, identity: TestIdentity, options: { readonly revision?: string; readonly capabilities?: object; readonly path?: string; readonly agent?: Agent } = {},
): Promise<RawSession> => {
  const revision = options.revision ?? '2025-11-25';
  const where = { ...(options.path === undefined ? {} : { path: options.path }), ...(options.agent === undefined ? {} : { agent: options.agent }) };
  const initialized = await rawRequest(gateway, identity, { ...where, body: initializeMessage(revision, options.capabilities) });
  if (initialized.status !== 200 || initialized.answer.result === undefined) throw new Error(`initialize failed: ${initialized.status} ${initialized.body}`);
  const id = initialized.headers['mcp-session-id'] as string | undefined;
  const own: readonly (readonly [string, string])[] = [['mcp-protocol-version', revision], ...(id === undefined ? [] : [['mcp-session-id', id] as const])];
  const headers = [...jsonHeaders, ...own];
  const session: RawSession = {
    id, revision, headers, initialized,
    post: (body, more = {}) => rawRequest(gateway, identity, { ...where, headers, ...(body === undefined ? {} : { body }), ...more }),
    stream: async ({ lastEventId, ...more } = {}) =>
      RawStream.of(await dial(gateway, identity, {
        ...where, method: more.body === undefined ? 'GET' : 'POST',
        headers: [...headers, ...(lastEventId === undefined ? [] : [['last-event-id', lastEventId] as const])], ...more,
      })),
    end: (more = {}) => rawRequest(gateway, identity, { ...where, method: 'DELETE', headers, ...more }),
  };
  const initializedNote = await session.post({ jsonrpc: '2.0', method: 'notifications/initialized' });
  if (initializedNote.status !== 202) throw new Error(`initialized was not taken: ${initializedNote.status} ${initializedNote.body}`);
  return session;
};

/** An SSE answer read event by event. */
export class RawStream {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** `ended` in good order or `cut` under way. */
  readonly closed: Promise<'ended' | 'cut'>;
  readonly #response: IncomingMessage;
  readonly #events: SseEvent[] = [];
  readonly #waiting = new Set<() => void>();
  #over = false;

  static of(response: IncomingMessage): RawStream {
    return new RawStream(response);
  }

  private constructor(response: IncomingMessage) {
    this.#response = response;
    this.status = response.statusCode ?? 0;
    this.headers = response.headers;
    const decoder = new SseDecoder({ maxEventBytes: 1e7 });
    response.on('data', (chunk: Buffer) => {
      if (response.headers['content-type'] !== 'text/event-stream') return;
      this.#events.push(...decoder.push(chunk));
      for (const wake of this.#waiting) wake();
    });
    response.on('error', () => undefined);
    this.closed = new Promise((resolve) => {
      response.once('close', () => {
        this.#over = true;
        for (const wake of this.#waiting) wake();
        resolve(response.complete ? 'ended' : 'cut');
      });
    });
  }

  get events(): readonly SseEvent[] {
    return this.#events;
  }

  get over(): boolean {
    return this.#over;
  }

  /** Messages seen so far. */
  get messages(): readonly Answered[] {
    return this.#events.filter(({ data }) => data !== '').map(({ data }) => JSON.parse(data) as Answered);
  }

  /** The first message for which `which` holds. */
  async message(which: (message: Answered) => boolean, timeoutMs = 5_000): Promise<Answered> {
    await this.until(() => this.messages.some(which), timeoutMs);
    const found = this.messages.find(which);
    if (found === undefined) throw new Error('unreachable');
    return found;
  }

  async until(condition: () => boolean, timeoutMs = 5_000): Promise<void> {
    const late = Date.now() + timeoutMs;
    while (!condition()) {
      if (this.#over || Date.now() > late) throw new Error(`the stream ${this.#over ? 'closed' : 'stayed silent'} after ${JSON.stringify(this.#events)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(wake, 50);
        const waiting = this.#waiting;
        function wake(): void {
          clearTimeout(timer);
          waiting.delete(wake);
          resolve();
        }
        waiting.add(wake);
      });
    }
  }

  /** The client goes away. */
  abandon(): void {
    this.#response.destroy();
  }
}

/** Waits until something that is not told by an event has happened. */
export const eventually = async (condition: () => boolean, timeoutMs = 5_000): Promise<void> => {
  const late = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > late) throw new Error('it did not happen in time');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
