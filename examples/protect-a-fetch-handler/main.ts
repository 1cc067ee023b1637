// A fetch handler, as SDK v2 makes them, behind the gate in an https server of your own.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { protectFetch } from 'sallyport';
import { onStage, textOf } from '../stage.ts';

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'notes', version: '1.0.0' });
  server.registerTool('read', { description: 'Reads' }, () => ({ content: [{ type: 'text' as const, text: 'a note' }] }));
  server.registerTool('burn', { description: 'Not for everyone' }, () => ({ content: [{ type: 'text' as const, text: 'burnt' }] }));
  return server;
});

await onStage(async ({ directory, path, sallyport, policy, connect }) => {
  await policy(`
roles:
  reader: { grants: [{ upstream: notes, tools: [read] }] }
bindings:
  - { role: reader, when: { uri: "spiffe://acme.internal/agent/agent-*" } }
`);
  await sallyport('issue', 'agent-7', '--out', path('agent-7'));
  const mcp = protectFetch(handler.fetch, { directory, name: 'notes' });
  const server = createServer(await mcp.tlsOptions(), mcp);
  await mcp.attach(server);
  server.listen(0, 'localhost');
  await once(server, 'listening');
  try {
    const client = await connect(`https://localhost:${(server.address() as AddressInfo).port}/mcp`, path('agent-7'));
    assert.equal(textOf(await client.callTool({ name: 'read' })), 'a note');
    await assert.rejects(client.callTool({ name: 'burn' }), /not found or not permitted/);
  } finally {
    server.close();
    server.closeAllConnections();
    await mcp.close();
    await handler.close();
  }
});
console.log('the fetch handler answers agent-7, and burns nothing');
