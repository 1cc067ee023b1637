// The gate around an MCP handler in an https server of your own.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { protect } from 'sallyport';
import type { NodeMcpHandler } from 'sallyport';
import { SallyportError } from 'sallyport/bridge';
import { onStage, textOf } from '../stage.ts';

// Stateless, as in the SDK's own examples. A fetch handler, such as that of SDK v2, goes into protectFetch().
const handler: NodeMcpHandler = async (request, response, body) => {
  const server = new McpServer({ name: 'clock', version: '1.0.0' });
  server.registerTool('time', { description: 'The time' }, () => ({ content: [{ type: 'text', text: 'noon' }] }));
  server.registerTool('stop_time', { description: 'Not for everyone' }, () => ({ content: [{ type: 'text', text: 'stopped' }] }));
  const transport = new StreamableHTTPServerTransport({ enableJsonResponse: true });
  response.once('close', () => void server.close());
  await server.connect(transport as Transport);
  await transport.handleRequest(request, response, body);
};

await onStage(async ({ directory, path, sallyport, policy, connect }) => {
  await policy(`
roles:
  reader: { grants: [{ upstream: clock, tools: [time] }] }
bindings:
  - { role: reader, when: { organizationalUnit: analytics } }
`);
  await sallyport('issue', 'agent-7', '--ou', 'analytics', '--out', path('agent-7'));

  const mcp = protect(handler, { directory, name: 'clock' });
  const server = createServer(await mcp.tlsOptions(), (request, response) => {
    // The rest of your server is as it was.
    if (request.url === '/mcp') mcp(request, response);
    else response.end('your own pages');
  });
  // Peers are judged at the handshake: nothing of HTTP is read from a stranger.
  await mcp.attach(server);
  server.listen(0, 'localhost');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as AddressInfo).port}/mcp`;
  try {
    const client = await connect(url, path('agent-7'));
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['time']);
    assert.equal(textOf(await client.callTool({ name: 'time' })), 'noon');

    await sallyport('revoke', 'agent-7', '--reason', 'keyCompromise');
    await assert.rejects(client.callTool({ name: 'time' }), (error) => error instanceof SallyportError && error.code === 'ERR_BRIDGE_REFUSED');
  } finally {
    server.close();
    server.closeAllConnections();
    await mcp.close();
  }
});
console.log('the handler is protected in a server of its own, also against a certificate that was revoked meanwhile');
