// A Hono app with an MCP server (SDK v2, as a fetch handler) among its routes.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { Hono } from 'hono';
import { protectFetch } from 'sallyport';
import type { CertificateAuthInfo } from 'sallyport';
import { onStage, textOf } from '../stage.ts';

let published = 0;

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'press', version: '1.0.0' });
  server.registerTool('draft', { description: 'Drafts' }, (context) => {
    const caller = context.http?.authInfo as CertificateAuthInfo | undefined;
    return { content: [{ type: 'text' as const, text: `a draft by ${caller?.extra.principal.commonName}, ${caller?.extra.roles.join(', ')}` }] };
  });
  server.registerTool('publish', { description: 'Not for everyone' }, () => ({ content: [{ type: 'text' as const, text: `issue ${(published += 1)}` }] }));
  return server;
});

await onStage(async ({ directory, path, sallyport, policy, connect, stranger }) => {
  await policy(`
roles:
  writer: { grants: [{ upstream: press, tools: [draft] }] }
bindings:
  - { role: writer, when: { organizationalUnit: newsroom } }
`);
  await sallyport('issue', 'agent-7', '--ou', 'newsroom', '--out', path('agent-7'));

  const mcp = protectFetch(handler.fetch, { directory, name: 'press' });
  const app = new Hono<{ Bindings: HttpBindings }>();
  app.get('/', (context) => context.text('the front page'));
  app.all('/mcp', ({ env }) => {
    mcp(env.incoming, env.outgoing);
    return RESPONSE_ALREADY_SENT;
  });
  const server = createAdaptorServer({ fetch: app.fetch, createServer, serverOptions: await mcp.tlsOptions() }) as Server;
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  try {
    const client = await connect(`${url}/mcp`, path('agent-7'));
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['draft']);
    assert.equal(textOf(await client.callTool({ name: 'draft' })), 'a draft by agent-7, writer');
    await assert.rejects(client.callTool({ name: 'publish' }), /not found or not permitted/);
    assert.equal(published, 0);

    assert.deepEqual(await stranger(`${url}/`), { status: 200, text: 'the front page' });
    const refused = await stranger(`${url}/mcp`, { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'draft' } });
    assert.equal(refused.status, 403);
    assert.match(refused.text, /ERR_PEER_NO_CERTIFICATE/);
  } finally {
    server.close();
    server.closeAllConnections();
    await mcp.close();
    await handler.close();
  }
});
console.log('Hono shows everyone its front page, and lets agent-7 draft');
