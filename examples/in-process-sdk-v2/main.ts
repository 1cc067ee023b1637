// A server written with @modelcontextprotocol/server (SDK v2), served by the gateway as a fetch handler.
import assert from 'node:assert/strict';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { createGateway } from 'sallyport';
import type { CertificateAuthInfo } from 'sallyport';
import { z } from 'zod';
import { onStage, textOf } from '../stage.ts';

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'warehouse', version: '1.0.0' });
  server.registerTool('query', { description: 'Runs SQL', inputSchema: z.object({ sql: z.string() }) }, ({ sql }, context) => {
    const caller = context.http?.authInfo as CertificateAuthInfo | undefined;
    return { content: [{ type: 'text' as const, text: `${caller?.extra.principal.commonName} ran ${sql}` }] };
  });
  return server;
});

await onStage(async ({ directory, path, sallyport, policy, connect }) => {
  await policy(`
roles:
  analyst:
    grants:
      - upstream: warehouse
        tools:
          - name: query
            arguments:
              properties: { sql: { type: string, pattern: "^SELECT " } }
              required: [sql]
bindings:
  - { role: analyst, when: { organizationalUnit: analytics } }
`);
  await sallyport('issue', 'agent-7', '--ou', 'analytics', '--out', path('agent-7'));
  const gateway = await createGateway({ directory, upstreams: { warehouse: { fetch: handler.fetch } }, listen: 'localhost:0', public: false, enroll: false });
  await gateway.listen();
  try {
    const client = await connect(`${gateway.url}/mcp`, path('agent-7'));
    assert.equal(textOf(await client.callTool({ name: 'query', arguments: { sql: 'SELECT 1' } })), 'agent-7 ran SELECT 1');
    await assert.rejects(client.callTool({ name: 'query', arguments: { sql: 'DROP TABLE orders' } }), /these arguments are not permitted/);
  } finally {
    await gateway.close();
    await handler.close();
  }
});
console.log('agent-7 may SELECT, and nothing else');
