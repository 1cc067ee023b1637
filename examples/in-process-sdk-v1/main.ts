// A server written with @modelcontextprotocol/sdk, served by the gateway in its own process.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { createGateway } from 'sallyport';
import type { NodeMcpHandler } from 'sallyport';
import { onStage, textOf } from '../stage.ts';

function reportServer(): McpServer {
  const server = new McpServer({ name: 'reports', version: '1.0.0' });
  // AuthInfo holds who calls: the certificate is the credential, so there is no token in it.
  server.registerTool('whoami', { description: 'Who calls, and in which roles' }, ({ authInfo }) => ({ content: [{ type: 'text', text: `${authInfo?.clientId} as ${authInfo?.scopes.join(', ')}` }] }));
  server.registerTool('drop_reports', { description: 'Not for everyone' }, () => ({ content: [{ type: 'text', text: 'dropped' }] }));
  return server;
}

// As in the SDK's own examples: one transport for each session.
const transports = new Map<string, StreamableHTTPServerTransport>();
const handler: NodeMcpHandler = async (request, response, body) => {
  let transport = transports.get(String(request.headers['mcp-session-id']));
  if (transport === undefined) {
    const opened = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => void transports.set(id, opened), onsessionclosed: (id) => void transports.delete(id) });
    await reportServer().connect(opened as Transport);
    transport = opened;
  }
  await transport.handleRequest(request, response, body);
};

await onStage(async ({ directory, path, sallyport, policy, connect }) => {
  await policy(`
roles:
  reader: { grants: [{ upstream: reports, tools: [whoami] }] }
bindings:
  - { role: reader, when: { organizationalUnit: analytics } }
`);
  await sallyport('issue', 'agent-7', '--ou', 'analytics', '--out', path('agent-7'));
  const gateway = await createGateway({ directory, upstreams: { reports: { handler } }, listen: 'localhost:0', public: false, enroll: false });
  await gateway.listen();
  try {
    const client = await connect(`${gateway.url}/mcp`, path('agent-7'));
    assert.deepEqual((await client.listTools()).tools.map(({ name }) => name), ['whoami']);
    assert.equal(textOf(await client.callTool({ name: 'whoami' })), 'spiffe://acme.internal/agent/agent-7 as reader');
    await assert.rejects(client.callTool({ name: 'drop_reports' }), /not found or not permitted/);
  } finally {
    await gateway.close();
  }
});
assert.equal(transports.size, 0, 'the server was told that its sessions ended');
console.log('agent-7 saw and called whoami; drop_reports does not exist for it');
