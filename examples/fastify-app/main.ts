// A Fastify app with an MCP server (SDK v2, as a Node handler) among its routes, closed to everybody without a certificate.
import assert from 'node:assert/strict';
import type { AddressInfo } from 'node:net';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { fastify } from 'fastify';
import { protect } from 'sallyport';
import { z } from 'zod';
import { onStage, textOf } from '../stage.ts';

const shelf = new Map([['lamp', 3], ['rope', 12]]);

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'stock', version: '1.0.0' });
  server.registerTool('count', { description: 'How many are there', inputSchema: z.object({ item: z.string() }) }, ({ item }, context) => ({
    content: [{ type: 'text' as const, text: `${context.http?.authInfo?.clientId} may have ${shelf.get(item) ?? 0}` }],
  }));
  server.registerTool('clear', { description: 'Not for everyone' }, () => {
    shelf.clear();
    return { content: [{ type: 'text' as const, text: 'cleared' }] };
  });
  return server;
});

await onStage(async ({ directory, path, sallyport, policy, connect, stranger }) => {
  await policy(`
roles:
  clerk: { grants: [{ upstream: stock, tools: [count] }] }
bindings:
  - { role: clerk, when: { organizationalUnit: warehouse } }
`);
  await sallyport('issue', 'agent-7', '--ou', 'warehouse', '--out', path('agent-7'));

  const mcp = protect(toNodeHandler(handler), { directory, name: 'stock' });
  const app = fastify({ https: await mcp.tlsOptions() });
  app.get('/health', () => ({ ok: true }));
  app.all('/mcp', {
    // Before Fastify reads the body: from here on the answer is the gate's.
    onRequest: async (request, reply) => {
      reply.hijack();
      mcp(request.raw, reply.raw);
    },
  }, () => undefined);
  // Peers are judged at the handshake: the whole app is for those with a certificate.
  await mcp.attach(app.server);
  await app.listen({ port: 0, host: 'localhost' });
  const url = `https://localhost:${(app.server.address() as AddressInfo).port}`;
  try {
    const client = await connect(`${url}/mcp`, path('agent-7'));
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['count']);
    assert.equal(textOf(await client.callTool({ name: 'count', arguments: { item: 'rope' } })), 'spiffe://acme.internal/agent/agent-7 may have 12');
    await assert.rejects(client.callTool({ name: 'clear' }), /not found or not permitted/);
    assert.equal(shelf.size, 2);

    for (const page of ['/health', '/mcp']) {
      const refused = await stranger(`${url}${page}`);
      assert.equal(refused.status, 403, page);
      assert.match(refused.text, /ERR_PEER_NO_CERTIFICATE/);
    }
  } finally {
    app.server.closeAllConnections();
    await app.close();
    await mcp.close();
    await handler.close();
  }
});
console.log('Fastify serves agent-7, and nobody without a certificate');
