/** What the official clients hear of changes, through the gateway, from servers of their own era and of the other. */
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { ToolListChangedNotificationSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import type { IdentityFetch } from '../../src/bridge/index.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/gateway-requests.ts';
import { handlerUpstream, startUpstream } from '../support/gateway-upstreams.ts';
import { createV2Handler } from '../support/mcp-servers/v2.ts';

const both = createV2Handler();
const modernOnly = createV2Handler({ legacy: 'reject' });
let gateway: TestGateway;
let fetch: IdentityFetch;
beforeAll(async () => {
  gateway = await startTestGateway({
    upstreams: [
      await startUpstream('http', { name: 'v1' }),
      handlerUpstream(toNodeHandler(both), 'v2'),
      handlerUpstream(toNodeHandler(modernOnly), 'modern'),
    ],
  });
  fetch = createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent()) });
});
afterAll(async () => {
  await Promise.all([both.close(), modernOnly.close()]);
  fetch.close();
  await gateway.close();
});

const openModern = async (server: string): Promise<ClientV2> => {
  const client = new ClientV2({ name: 'interop', version: '2' }, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
  await client.connect(new TransportV2(new URL(`/${server}/mcp`, gateway.url), { fetch }));
  return client;
};

describe.concurrent('a client that listens', () => {
  it('hears in the modern revision that the tools of a v2 server changed, until it stops', async () => {
    const client = await openModern('v2');
    let changes = 0;
    client.setNotificationHandler('notifications/tools/list_changed', () => void (changes += 1));
    const subscription = await client.listen({ toolsListChanged: true });
    both.notify.toolsChanged();
    await eventually(() => changes === 1);
    expect((await client.listTools()).tools.map(({ name }) => name)).not.toContain('delete_everything');
    await subscription.close();
    both.notify.toolsChanged();
    expect(await client.callTool({ name: 'echo', arguments: { text: 'on' } })).toMatchObject({ content: [{ text: 'on' }] });
    expect(changes).toBe(1);
    await client.close();
  });

  it('hears in the modern revision of a resource of a v1 server, and only of one it may read', async () => {
    const client = await openModern('v1');
    const updated: string[] = [];
    client.setNotificationHandler('notifications/resources/updated', ({ params }) => void updated.push(params.uri));
    const subscription = await client.listen({ resourceSubscriptions: ['file:///reports/secret', 'file:///readme.txt'] });
    expect(subscription.honoredFilter).toEqual({ resourceSubscriptions: ['file:///readme.txt'] });
    await client.callTool({ name: 'touch', arguments: { uri: 'file:///readme.txt' } });
    await client.callTool({ name: 'touch', arguments: { uri: 'file:///reports/secret' } });
    await eventually(() => updated.length > 0);
    expect(updated).toEqual(['file:///readme.txt']);
    await subscription.close();
    await client.close();
  });

  it('hears in a legacy revision that the tools of a server of the modern one changed', async () => {
    const client = new Client({ name: 'interop', version: '1' });
    let changes = 0;
    client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (changes += 1));
    await client.connect(new StreamableHTTPClientTransport(new URL('/modern/mcp', gateway.url), { fetch }) as Transport);
    // The client opens its stream when it likes to.
    await eventually(() => {
      modernOnly.notify.toolsChanged();
      return changes > 0;
    });
    await client.close();
  });
});
