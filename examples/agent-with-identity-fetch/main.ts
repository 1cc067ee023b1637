// An agent written in TypeScript: it enrolls with a one-time token, works, and is revoked.
import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { createGateway } from 'sallyport';
import { createIdentityFetch, enroll, SallyportError } from 'sallyport/bridge';
import { onStage, textOf } from '../stage.ts';

const handler = createMcpHandler(() => {
  const server = new McpServer({ name: 'greeter', version: '1.0.0' });
  server.registerTool('greet', { description: 'Greets' }, () => ({ content: [{ type: 'text' as const, text: 'good day' }] }));
  return server;
});

await onStage(async ({ directory, path, sallyport, policy }) => {
  await policy(`
roles:
  guest: { grants: [{ upstream: "*", tools: [greet] }] }
bindings:
  - { role: guest, when: { commonName: "agent-*" } }
`);
  const gateway = await createGateway({ directory, upstreams: { main: { fetch: handler.fetch } }, listen: 'localhost:0', public: false, enroll: 'localhost:0' });
  await gateway.listen();
  try {
    // The operator hands out a token; the agent's key is made here and stays here.
    const { token } = await sallyport('token', 'create', 'agent-8');
    const identity = path('agent-8');
    await enroll({ url: gateway.enrollUrl ?? '', token: String(token), out: identity });
    assert.equal((await stat(join(identity, 'key.pem'))).mode & 0o777, 0o600);
    assert.match(await readFile(join(identity, 'key.pem'), 'utf8'), /PRIVATE KEY/);
    await assert.rejects(enroll({ url: gateway.enrollUrl ?? '', token: String(token), out: path('thief') }), (error) => error instanceof SallyportError && error.code === 'ERR_BRIDGE_ENROLLMENT');

    const fetch = createIdentityFetch({ identity });
    const client = new Client({ name: 'my-agent', version: '1.0.0' });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${gateway.url}/mcp`), { fetch }) as Transport);
    assert.equal(textOf(await client.callTool({ name: 'greet' })), 'good day');

    await sallyport('revoke', 'agent-8', '--reason', 'cessationOfOperation');
    await assert.rejects(client.callTool({ name: 'greet' }), (error) => error instanceof SallyportError && error.code === 'ERR_BRIDGE_REFUSED' && error.message.includes('revoked'));
    await client.close();
    fetch.close();
  } finally {
    await gateway.close();
    await handler.close();
  }
});
console.log('agent-8 enrolled, worked, and was told that it was revoked');
