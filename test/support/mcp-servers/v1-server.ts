/** An MCP server written with SDK v1 (2024-11-05 … 2025-11-25) that uses every part of the protocol the gateway has to carry. */
import { completable } from '@modelcontextprotocol/sdk/server/completable.js';
import { McpServer, ResourceTemplate } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SubscribeRequestSchema, UnsubscribeRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

/** An integer that a double cannot hold. */
export const bigInteger = '12345678901234567890';

export const reportNames = ['annual', 'secret', 'weekly'];

const text = (value: string) => ({ content: [{ type: 'text' as const, text: value }] });

export const createV1Server = (): McpServer => {
  const server = new McpServer(
    { name: 'v1-fixture', version: '1.0.0' },
    { capabilities: { logging: {}, resources: { subscribe: true, listChanged: true }, tools: { listChanged: true }, prompts: { listChanged: true } }, instructions: 'a fixture' },
  );
  addTools(server);
  addResources(server);
  server.registerPrompt(
    'greet',
    { description: 'Greets someone', argsSchema: { who: completable(z.string(), (value) => ['alice', 'bob', 'carol'].filter((name) => name.startsWith(value))) } },
    ({ who }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `Greet ${who}` } }] }),
  );
  server.registerPrompt('confidential', { description: 'Not for everyone' }, () => ({ messages: [{ role: 'user', content: { type: 'text', text: 'confidential' } }] }));
  return server;
};

const addTools = (server: McpServer): void => {
  server.registerTool('echo', { description: 'Gives back its text', inputSchema: { text: z.string() } }, ({ text: given }) => text(given));
  server.registerTool('add', { description: 'Adds two numbers', inputSchema: { a: z.number(), b: z.number() }, outputSchema: { sum: z.number() } }, ({ a, b }) => ({
    ...text(String(a + b)),
    structuredContent: { sum: a + b },
  }));
  server.registerTool('echo_number', { description: 'Gives back its number as the server read it', inputSchema: { value: z.number() } }, ({ value }) => text(String(value)));
  server.registerTool('big_integer', { description: 'Gives an integer that a double cannot hold' }, () => ({
    ...text(bigInteger),
    structuredContent: { value: (JSON as unknown as { rawJSON(source: string): unknown }).rawJSON(bigInteger) },
  }));
  server.registerTool('slow', { description: 'Reports progress step by step', inputSchema: { steps: z.number().int(), milliseconds: z.number().int() } }, async ({ steps, milliseconds }, extra) => {
    const { _meta: meta } = extra;
    const progressToken = meta?.progressToken;
    for (let progress = 1; progress <= steps; progress += 1) {
      if (progressToken !== undefined) await extra.sendNotification({ method: 'notifications/progress', params: { progressToken, progress, total: steps } });
      // After the report: a client drops progress that arrives in one piece with the result.
      await sleep(milliseconds, undefined, { signal: extra.signal });
    }
    return text(`${steps} steps`);
  });
  server.registerTool('log', { description: 'Logs some messages', inputSchema: { count: z.number().int() } }, async ({ count }, extra) => {
    for (let index = 0; index < count; index += 1) await extra.sendNotification({ method: 'notifications/message', params: { level: 'info', logger: 'v1-fixture', data: `message ${index}` } });
    return text(`${count} messages`);
  });
  server.registerTool('ask_model', { description: 'Asks the client to sample', inputSchema: { question: z.string() } }, async ({ question }, extra) => {
    const answer = await server.server.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: question } }], maxTokens: 16 }, { relatedRequestId: extra.requestId });
    return text(answer.content.type === 'text' ? answer.content.text : answer.content.type);
  });
  server.registerTool('ask_user', { description: 'Asks the client to elicit', inputSchema: { question: z.string() } }, async ({ question }, extra) => {
    const answer = await server.server.elicitInput({ message: question, requestedSchema: { type: 'object', properties: { answer: { type: 'string' } } } }, { relatedRequestId: extra.requestId });
    return text(`${answer.action}: ${String(answer.content?.answer ?? '')}`);
  });
  server.registerTool('list_roots', { description: 'Asks the client for its roots' }, async (extra) => {
    const { roots } = await server.server.listRoots(undefined, { relatedRequestId: extra.requestId });
    return text(roots.map(({ uri }) => uri).join(' '));
  });
  server.registerTool('whoami', { description: 'Gives the identity the transport passed on' }, (extra) => text(JSON.stringify(extra.authInfo ?? null)));
  server.registerTool('delete_everything', { description: 'Not for everyone' }, () => text('deleted'));
};

const addResources = (server: McpServer): void => {
  const subscribed = new Set<string>();
  server.server.setRequestHandler(SubscribeRequestSchema, ({ params }) => {
    subscribed.add(params.uri);
    return {};
  });
  server.server.setRequestHandler(UnsubscribeRequestSchema, ({ params }) => {
    subscribed.delete(params.uri);
    return {};
  });
  server.registerTool('touch', { description: 'Announces a change of a resource to its subscribers', inputSchema: { uri: z.string() } }, async ({ uri }) => {
    if (subscribed.has(uri)) await server.server.sendResourceUpdated({ uri });
    return text(subscribed.has(uri) ? 'announced' : 'nobody subscribed');
  });
  server.registerResource('readme', 'file:///readme.txt', { mimeType: 'text/plain' }, (uri) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'read me' }] }));
  const reports = new ResourceTemplate('file:///reports/{name}', {
    list: () => ({ resources: reportNames.map((name) => ({ name, uri: `file:///reports/${name}` })) }),
    complete: { name: (value) => reportNames.filter((name) => name.startsWith(value)) },
  });
  server.registerResource('reports', reports, { mimeType: 'text/plain' }, (uri, { name }) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: `report ${String(name)}` }] }));
};
