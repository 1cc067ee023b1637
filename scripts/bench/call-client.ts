/** MCP clients that cost the load generator little: bare keep-alive requests, a session for each worker. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Agent as HttpAgent, request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import { echoOverStdio } from './echo-server.ts';

/** One session. `call` makes one tools/call and checks its answer. */
export interface Caller {
  call(): Promise<void>;
  close(): Promise<void>;
}

export interface ClientIdentity {
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

const revision = '2025-11-25';
const initialize = { jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: revision, capabilities: {}, clientInfo: { name: 'bench', version: '1' } } };
const initialized = { jsonrpc: '2.0', method: 'notifications/initialized' };
const text = 'quarterly revenue by region and product line';
const callOf = (id: number) => ({ jsonrpc: '2.0', id, method: 'tools/call', params: { name: 'echo', arguments: { text } } });

/** `identity` for https. */
export const openHttpCaller = async (url: string, identity?: ClientIdentity): Promise<Caller> => {
  const { hostname, port, pathname } = new URL(url);
  const agent = identity === undefined ? new HttpAgent({ keepAlive: true, maxSockets: 1 }) : new HttpsAgent({ keepAlive: true, maxSockets: 1, ...identity, servername: 'localhost' });
  const send = identity === undefined ? httpRequest : httpsRequest;
  const post = (message: object, session?: string): Promise<{ status: number; headers: IncomingHttpHeaders; body: string }> =>
    new Promise((resolve, reject) => {
      const body = JSON.stringify(message);
      const headers = {
        host: `localhost:${port}`, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body), accept: 'application/json, text/event-stream',
        ...(session === undefined ? {} : { 'mcp-session-id': session, 'mcp-protocol-version': revision }),
      };
      send({ agent, hostname, port, path: pathname, method: 'POST', headers }, (response) => {
        let answer = '';
        response.setEncoding('utf8').on('data', (part: string) => { answer += part; }).on('end', () => { resolve({ status: response.statusCode ?? 0, headers: response.headers, body: answer }); }).on('error', reject);
      }).on('error', reject).end(body);
    });
  const opened = await post(initialize);
  const session = opened.headers['mcp-session-id'];
  if (opened.status !== 200 || typeof session !== 'string') throw new Error(`initialize was answered ${opened.status}: ${opened.body.slice(0, 300)}`);
  await post(initialized, session);
  let id = 0;
  return {
    call: async () => {
      const { status, body } = await post(callOf((id += 1)), session);
      if (status !== 200 || !body.includes(text)) throw new Error(`tools/call was answered ${status}: ${body.slice(0, 300)}`);
    },
    close: async () => { agent.destroy(); },
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
