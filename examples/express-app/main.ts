// An Express app with an MCP server (SDK v1) among its routes: anybody may read the pages, agents with a certificate may call tools.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import express from 'express';
import { protect } from 'sallyport';
import type { NodeMcpHandler } from 'sallyport';
import { onStage, textOf } from '../stage.ts';

const orders = [{ id: 1, owner: 'agent-7' }, { id: 2, owner: 'agent-8' }];

function orderServer(): McpServer {
  const server = new McpServer({ name: 'orders', version: '1.0.0' });
  // The certificate says who calls, so a tool can keep to what is the caller's own.
  server.registerTool('my_orders', { description: 'Orders of the caller' }, ({ authInfo }) => {
    const own = orders.filter(({ owner }) => authInfo?.clientId.endsWith(`/${owner}`));
    return { content: [{ type: 'text', text: own.map(({ id }) => id).join(' ') }] };
  });
  server.registerTool('drop_orders', { description: 'Not for everyone' }, () => ({ content: [{ type: 'text', text: String(orders.splice(0).length) }] }));
  return server;
}

const transports = new Map<string, StreamableHTTPServerTransport>();
const handler: NodeMcpHandler = async (request, response, body) => {
  let transport = transports.get(String(request.headers['mcp-session-id']));
  if (transport === undefined) {
    const opened = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => void transports.set(id, opened), onsessionclosed: (id) => void transports.delete(id) });
    await orderServer().connect(opened as Transport);
    transport = opened;
  }
  await transport.handleRequest(request, response, body);
};

await onStage(async ({ directory, path, sallyport, policy, connect, stranger }) => {
  await policy(`
roles:
  buyer: { grants: [{ upstream: orders, tools: [my_orders] }] }
bindings:
  - { role: buyer, when: { organizationalUnit: sales } }
`);
  await sallyport('issue', 'agent-7', '--ou', 'sales', '--out', path('agent-7'));

  const mcp = protect(handler, { directory, name: 'orders' });
  const app = express();
  // Before any body parser: the gate reads the body itself, strictly.
  app.use('/mcp', mcp);
  app.use(express.json());
  app.get('/version', (_request, response) => void response.json({ version: 1 }));
  app.post('/orders', (request, response) => void response.status(201).json({ taken: request.body as unknown }));
  const server = createServer(await mcp.tlsOptions(), app);
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  try {
    const client = await connect(`${url}/mcp`, path('agent-7'));
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['my_orders']);
    assert.equal(textOf(await client.callTool({ name: 'my_orders' })), '1');
    await assert.rejects(client.callTool({ name: 'drop_orders' }), /not found or not permitted/);
    assert.equal(orders.length, 2);

    // Without mcp.attach(server) the pages stay open to those who have no certificate; the tools do not.
    assert.deepEqual(await stranger(`${url}/version`), { status: 200, text: '{"version":1}' });
    assert.deepEqual(await stranger(`${url}/orders`, { item: 'rope' }), { status: 201, text: '{"taken":{"item":"rope"}}' });
    const refused = await stranger(`${url}/mcp`, { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'my_orders' } });
    assert.equal(refused.status, 403);
    assert.match(refused.text, /ERR_PEER_NO_CERTIFICATE/);
  } finally {
    server.close();
    server.closeAllConnections();
    await mcp.close();
  }
});
console.log('Express serves its pages to everyone, and its tools to agent-7');
