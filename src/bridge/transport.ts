/** The SDK's own Streamable HTTP transport with an identity, for agents written in TypeScript. */
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { StreamableHTTPClientTransportOptions } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { createIdentityFetch } from './identity-fetch.ts';
import type { IdentityFetchOptions } from './identity-fetch.ts';

export interface BridgeTransportOptions extends IdentityFetchOptions {
  /** Handed to the SDK's transport. */
  readonly transport?: Omit<StreamableHTTPClientTransportOptions, 'fetch'>;
}

/** A transport for the SDK's `Client` (v1). With v2 pass `createIdentityFetch(…)` as its transport's `fetch` option. */
export function createBridgeTransport(url: string | URL, options: BridgeTransportOptions): StreamableHTTPClientTransport {
  const { transport: transportOptions, ...identityOptions } = options;
  const identityFetch = createIdentityFetch(identityOptions);
  const transport = new StreamableHTTPClientTransport(new URL(url), { ...transportOptions, fetch: identityFetch });
  const close = transport.close.bind(transport);
  transport.close = async () => {
    await close();
    identityFetch.close();
  };
  return transport;
}
