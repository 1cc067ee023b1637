/** MCP servers of every kind behind a gateway under test, with what each of them really received. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { GatewayUpstream } from '../../src/gateway/gateway.ts';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { createV1Handler, startV1Http } from './mcp-servers/v1-http.ts';
import type { V1HttpOptions } from './mcp-servers/v1-http.ts';
import { createV2NodeHandler } from './mcp-servers/v2.ts';
import { recordingServer } from './stdio-fixtures/recording-server.ts';

/** Their eras are said and not asked for, so that what reaches a server is what the client sent. */
export type UpstreamKind = 'stdio' | 'http' | 'v1' | 'v2';

export interface TestUpstream {
  readonly kind: UpstreamKind | 'other';
  readonly upstream: GatewayUpstream;
  /** Text of every message, or batch of messages, that reached the MCP server. */
  received(): readonly string[];
  /** Headers of every HTTP request that reached it; nothing for stdio. */
  headers(): readonly IncomingHttpHeaders[];
  /** Sessions the MCP server holds; for stdio the pids of the children it ever had. */
  sessions(): readonly (string | number)[];
  close(): Promise<void>;
}

export const quietLog = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

const world = { clock: systemClock, randomness: systemRandomness, log: quietLog };

export const startUpstream = async (kind: UpstreamKind, options: V1HttpOptions & { readonly name?: string } = {}): Promise<TestUpstream> => {
  const name = options.name ?? 'main';
  switch (kind) {
    case 'stdio':
      return stdioUpstream(name);
    case 'http': {
      const server = await startV1Http(options);
      const upstream = createHttpUpstream({ name, url: server.url, era: 'legacy', log: quietLog });
      return { kind, upstream, received: () => server.received, headers: () => server.headers, sessions: server.sessions, close: () => server.close() };
    }
    case 'v1': {
      const { handle, sessions, close } = createV1Handler(options);
      return inProcess(kind, name, { handler: handle, sessions, close });
    }
    case 'v2': {
      const { handle, close } = createV2NodeHandler();
      return inProcess(kind, name, { handler: handle, sessions: () => [], close });
    }
  }
};

/** The reference server from npm, over stdio. */
export const everythingUpstream = (name = 'main'): TestUpstream => ({
  kind: 'other',
  upstream: createStdioUpstream({ ...world, name, command: process.execPath, args: [createRequire(import.meta.url).resolve('@modelcontextprotocol/server-everything/dist/index.js'), 'stdio'] }),
  received: () => [], headers: () => [], sessions: () => [],
  close: () => Promise.resolve(),
});

/** A handler in this process whose requests are recorded. */
export const handlerUpstream = (handler: NodeMcpHandler, name = 'main'): TestUpstream => ({ ...inProcess('v1', name, { handler, sessions: () => [], close: () => Promise.resolve() }), kind: 'other' });

const stdioUpstream = (name: string): TestUpstream => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-stdio-'));
  const file = join(directory, 'received');
  const lines = (): readonly string[] => {
    try {
      return readFileSync(file, 'utf8').split('\n').filter((line) => line !== '');
    } catch {
      return [];
    }
  };
  return {
    kind: 'stdio',
    upstream: createStdioUpstream({ ...world, name, ...recordingServer(file), era: 'legacy' }),
    // That a session is initialized is written without waiting for the child, so it may come late.
    received: () => lines().filter((line) => !line.startsWith('pid ') && !line.includes('"notifications/initialized"')),
    headers: () => [],
    sessions: () => lines().filter((line) => line.startsWith('pid ')).map((line) => Number(line.slice(4))),
    close: () => {
      rmSync(directory, { recursive: true, force: true });
      return Promise.resolve();
    },
  };
};

const inProcess = (kind: 'v1' | 'v2', name: string, server: { handler: NodeMcpHandler; sessions: () => readonly string[]; close: () => Promise<void> }): TestUpstream => {
  const received: string[] = [];
  const headers: IncomingHttpHeaders[] = [];
  const handler: NodeMcpHandler = (request, response, parsedBody) => {
    headers.push({ ...request.headers });
    if (parsedBody !== undefined) received.push(JSON.stringify(parsedBody));
    return server.handler(request, response, parsedBody);
  };
  return { kind, upstream: { name, handler }, received: () => received, headers: () => headers, sessions: server.sessions, close: server.close };
};

