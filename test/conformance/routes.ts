/** The ways to the fixture: directly over HTTP, and through loopback bridge, mutual TLS and gateway. */
import { startHttpBridge } from '../../src/bridge/http-bridge.ts';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestUpstream } from '../support/gateway-upstreams.ts';
import { startFixtureHttp } from './fixture/http.ts';

export interface Route {
  readonly url: string;
  close(): Promise<void>;
}

export async function startDirect(): Promise<Route> {
  const { url, close } = await startFixtureHttp();
  return { url: url.href, close };
}

/** The MCP client may everything: what differs is not policy's doing. */
export async function startThrough(upstream: TestUpstream): Promise<Route> {
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
