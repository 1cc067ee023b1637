/** MCP clients that cost the load generator little: bare keep-alive requests, in the legacy era with a session for each worker. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import type { Era } from '../../src/mcp/revisions.ts';
import { echoOverStdio } from './echo-server.ts';

/** One connection, and in the legacy era one session. `call` makes one tools/call and checks its answer. */
export interface Caller {
  call(): Promise<void>;
  close(): Promise<void>;
}

export interface ClientIdentity {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

const legacyRevision = '2025-11-25';
const modernRevision = '2026-07-28';
const initialize = { jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: legacyRevision, capabilities: {}, clientInfo: { name: 'bench', version: '1' } } };
const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };
const text = 'quarterly revenue by region and product line';
const callOf = (id: number, name = 'echo', meta?: object) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: { text }, ...(meta === undefined ? {} : { _meta: meta }) } });

export const modernMeta = {
  'io.modelcontextprotocol/protocolVersion': modernRevision,
  'io.modelcontextprotocol/clientInfo': { name: 'bench', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': {},
};

export const modernHeaders = (method: string, name?: string): Readonly<Record<string, string>> =>
  ({ 'mcp-protocol-version': modernRevision, 'mcp-method': method, ...(name === undefined ? {} : { 'mcp-name': name }) });

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** One keep-alive connection. `hang` resolves with the head of an answer that stays open. */
export interface HttpConnection {
  post(message: object, headers?: Readonly<Record<string, string>>): Promise<HttpAnswer>;
  send(method: 'POST' | 'GET' | 'DELETE', message: object | undefined, headers?: Readonly<Record<string, string>>): Promise<IncomingMessage>;
  close(): void;
}

/** `identity` for https. */
export const openHttpConnection = (url: string, identity?: ClientIdentity): HttpConnection => {
  const { hostname, port, pathname } = new URL(url);
  const agent = identity === undefined ? new HttpAgent({ keepAlive: true, maxSockets: 1 }) : new HttpsAgent({ keepAlive: true, maxSockets: 1, ...identity, servername: 'localhost' });
  const request = identity === undefined ? httpRequest : httpsRequest;
  const send: HttpConnection['send'] = (method, message, own = {}) =>
    new Promise((resolve, reject) => {
      const body = message === undefined ? undefined : JSON.stringify(message);
      const headers = {
        host: `localhost:${port}`, accept: method === 'GET' ? 'text/event-stream' : 'application/json, text/event-stream',
        ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }), ...own,
      };
      request({ agent, hostname, port, path: pathname, method, headers }, resolve).on('error', reject).end(body);
    });
  return {
    send,
    post: async (message, own) => {
      const response = await send('POST', message, own);
      return new Promise((resolve, reject) => {
        let body = '';
        response.setEncoding('utf8').on('data', (part: string) => { body += part; }).on('end', () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body }); }).on('error', reject);
      });
    },
    close: () => { agent.destroy(); },
  };
};

/** Opens a session; its headers for all that follows. */
export const openSession = async (connection: HttpConnection): Promise<Readonly<Record<string, string>>> => {
  const { status, headers, body } = await connection.post(initialize);
  const session = headers['mcp-session-id'];
  if (status !== 200 || typeof session !== 'string') throw new Error(`initialize was answered ${status}: ${body.slice(0, 300)}`);
  const own = { 'mcp-session-id': session, 'mcp-protocol-version': legacyRevision };
  await connection.post(initialized, own);
  return own;
};

export interface HttpCallerOptions {
  /** For https. */
  readonly identity?: ClientIdentity;
  /** Default legacy. */
  readonly era?: Era;
  /** Name of the tool that the call of this number calls. Default always `echo`. */
  readonly tool?: (call: number) => string;
}

export const openHttpCaller = async (url: string, { identity, era = 'legacy', tool = () => 'echo' }: HttpCallerOptions = {}): Promise<Caller> => {
  const connection = openHttpConnection(url, identity);
  const session = era === 'legacy' ? await openSession(connection) : undefined;
  let id = 0;
  return {
    call: async () => {
      const name = tool((id += 1));
      const { status, body } = await connection.post(callOf(id, name, session === undefined ? modernMeta : undefined), session ?? modernHeaders('tools/call', name));
      if (status !== 200 || !body.includes(text)) throw new Error(`tools/call was answered ${status}: ${body.slice(0, 300)}`);
    },
    close: async () => { connection.close(); },
  };
};

/** The same server over stdio without anything in between. */
export const openStdioCaller = async (): Promise<Caller> => {
  const child = spawn(echoOverStdio.command, echoOverStdio.args, { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = once(child, 'exit');
  let answered: (line: string) => void = () => {};
  createInterface({ input: child.stdout }).on('line', (line) => { answered(line); });
  const ask = (message: object): Promise<string> =>
    new Promise((resolve) => {
      answered = resolve;
      child.stdin.write(`${JSON.stringify(message)}\n`);
    });
  await ask(initialize);
  child.stdin.write(`${JSON.stringify(initialized)}\n`);
  let id = 0;
  return {
    call: async () => {
      const line = await ask(callOf((id += 1)));
      if (!line.includes(text)) throw new Error(`tools/call was answered ${line.slice(0, 300)}`);
    },
    close: async () => {
      child.kill();
      await ended;
    },
  };
};
