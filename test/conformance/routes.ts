/** The ways to the fixture: directly over HTTP, and through loopback bridge, mutual TLS and gateway in front of each kind of upstream. */
import { fileURLToPath } from 'node:url';
import { startHttpBridge } from '../../src/bridge/http-bridge.ts';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import { handlerUpstream, quietLog } from '../support/gateway-upstreams.ts';
import type { TestUpstream } from '../support/gateway-upstreams.ts';
import { createFixtureHandler } from './fixture/handler.ts';
import { startFixtureHttp } from './fixture/http.ts';

export const upstreamKinds = ['http', 'stdio', 'in-process'] as const;

export type RouteKind = (typeof upstreamKinds)[number];

/**
 * Checks of streams that the MCP server opens and closes itself. A stdio server has none: the gateway
 * answers its calls in one piece, and the suite notes that there is nothing to check.
 */
export const mayBeAbsent: Readonly<Record<RouteKind, ReadonlySet<string>>> = {
  http: new Set(),
  stdio: new Set(['server-sse-streams-functional', 'server-sse-priming-event', 'server-sse-retry-field', 'server-sse-disconnect-resume']),
  'in-process': new Set(),
};

export interface Route {
  readonly url: string;
  close(): Promise<void>;
}

export async function startDirect(): Promise<Route> {
  const { url, close } = await startFixtureHttp();
  return { url: url.href, close };
}

/** The MCP client may everything: what differs is not policy's doing. */
export async function startThrough(kind: RouteKind): Promise<Route> {
  const upstream = await startUpstream(kind);
  const gateway = await startTestGateway({ policy: everything, upstreams: [upstream] });
  const fetch = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent()) });
  const bridge = await startHttpBridge({ url: gateway.url, fetch, notice: () => undefined });
  return {
    url: bridge.url,
    close: async () => {
      await bridge.close();
      fetch.close();
      await gateway.close();
    },
  };
}

const everything = `
roles:
  operator:
    grants: [{ upstream: "*", tools: ["*"], resources: ["**"], prompts: ["*"], logging: true }]
bindings:
  - { role: operator, when: { organizationalUnit: analytics } }
`;

async function startUpstream(kind: RouteKind): Promise<TestUpstream> {
  switch (kind) {
    case 'http': {
      const server = await startFixtureHttp();
      return { ...unwatched, upstream: createHttpUpstream({ name: 'main', url: server.url, log: quietLog }), close: server.close };
    }
    case 'stdio': {
      const args = [fileURLToPath(new URL('fixture/stdio.ts', import.meta.url))];
      const upstream = createStdioUpstream({ clock: systemClock, randomness: systemRandomness, log: quietLog, name: 'main', command: process.execPath, args });
      return { ...unwatched, upstream, close: () => upstream.close() };
    }
    case 'in-process': {
      const { handle, close } = createFixtureHandler();
      return { ...handlerUpstream(handle as NodeMcpHandler), close };
    }
  }
}

const unwatched = { kind: 'other', received: () => [], headers: () => [], sessions: () => [] } as const;
