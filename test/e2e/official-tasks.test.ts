/** Tasks of revision 2025-11-25 with the official v1 SDK on both sides: task store, queue and client know nothing of the gateway. */
import { InMemoryTaskMessageQueue, InMemoryTaskStore } from '@modelcontextprotocol/sdk/experimental/tasks/stores/in-memory.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { CallToolResultSchema, ElicitRequestSchema, ElicitResultSchema } from '@modelcontextprotocol/sdk/types.js';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { createIdentityFetch } from '../../src/bridge/index.ts';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import { handlerUpstream } from '../support/gateway-upstreams.ts';
import { bridgeIdentity, startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';

const taskStore = new InMemoryTaskStore();
const taskMessageQueue = new InMemoryTaskMessageQueue();

/** `brew` is done at once, `ask` only when the client has answered a question, `wait` never. */
const createTaskServer = (): McpServer => {
  const server = new McpServer({ name: 'tasks', version: '1' }, { capabilities: { tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } }, taskStore, taskMessageQueue });
  for (const name of ['brew', 'ask', 'wait']) {
    server.experimental.tasks.registerToolTask(name, { description: name, inputSchema: { what: z.string() }, execution: { taskSupport: 'optional' } }, {
      createTask: async ({ what }, extra) => {
        const task = await extra.taskStore.createTask({ ttl: 60_000, pollInterval: 20 });
        const finish = (text: string): Promise<void> => extra.taskStore.storeTaskResult(task.taskId, 'completed', { content: [{ type: 'text', text }] });
        if (name === 'brew') await finish(`brewed ${what}`);
        if (name === 'ask') {
          const question = { method: 'elicitation/create' as const, params: { message: what, requestedSchema: { type: 'object' as const, properties: { answer: { type: 'string' as const } } } } };
          // Its type leaves out what makes the SDK put the question into the task's queue.
          const options: object = { relatedTask: { taskId: task.taskId } };
          void extra.sendRequest(question, ElicitResultSchema, options).then(({ content }) => finish(`answered ${String(content?.answer)}`));
        }
        return { task };
      },
      getTask: (_args, extra) => extra.taskStore.getTask(extra.taskId),
      getTaskResult: async (_args, extra) => CallToolResultSchema.parse(await extra.taskStore.getTaskResult(extra.taskId)),
    });
  }
  return server;
};

const transports = new Map<string, StreamableHTTPServerTransport>();
const handler: NodeMcpHandler = async (request, response, parsedBody) => {
  const session = request.headers['mcp-session-id'];
  const known = typeof session === 'string' ? transports.get(session) : undefined;
  if (known !== undefined) return known.handleRequest(request, response, parsedBody);
  const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({ sessionIdGenerator: randomUUID, onsessioninitialized: (id) => void transports.set(id, transport) });
  await createTaskServer().connect(transport as Transport);
  return transport.handleRequest(request, response, parsedBody);
};

let gateway: TestGateway;
const clients: Client[] = [];
beforeAll(async () => {
  gateway = await startTestGateway({
    upstreams: [handlerUpstream(handler)],
    policy: 'roles: { barista: { grants: [{ upstream: "*", tools: [brew, ask, wait] }] } }\nbindings: [{ role: barista, when: { organizationalUnit: analytics } }]\n',
  });
});
afterAll(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await gateway.close();
  await Promise.all([...transports.values()].map((transport) => transport.close()));
  taskStore.cleanup();
});

const connect = async (commonName?: string): Promise<Client> => {
  const client = new Client({ name: 'tour', version: '1' }, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => ({ action: 'accept', content: { answer: `to ${params.message}` } }));
  await client.connect(new StreamableHTTPClientTransport(gateway.url, { fetch: createIdentityFetch({ identity: bridgeIdentity(gateway.pki, gateway.agent(commonName)) }) }) as Transport);
  clients.push(client);
  return client;
};

it('a client follows a task from its call to its result, with a question in between', async () => {
  const client = await connect();
  for (const [name, expected] of [['brew', 'brewed tea'], ['ask', 'answered to tea']] as const) {
    const seen: string[] = [];
    let text: unknown;
    for await (const message of client.experimental.tasks.callToolStream({ name, arguments: { what: 'tea' } }, CallToolResultSchema, { task: { ttl: 60_000 } })) {
      seen.push(message.type);
      if (message.type === 'error') throw message.error;
      if (message.type === 'result') text = (message.result.content as readonly { text?: string }[])[0]?.text;
    }
    expect([seen[0], seen.at(-1), text]).toEqual(['taskCreated', 'result', expected]);
  }
  expect(gateway.evidence.of('request.decided').filter(({ method, name }) => method === 'tasks/result' && name === 'ask')).not.toHaveLength(0);
});

it('a client lists and cancels its own tasks, and another principal has none of them', async () => {
  const [client, other] = [await connect(), await connect('agent-8')];
  const { task } = await client.request({ method: 'tools/call', params: { name: 'wait', arguments: { what: 'tea' }, task: { ttl: 60_000 } } }, z.object({ task: z.object({ taskId: z.string() }) }));
  const ids = async (one: Client): Promise<readonly string[]> => (await one.experimental.tasks.listTasks()).tasks.map(({ taskId }) => taskId);
  expect(await ids(client)).toEqual([task.taskId]);
  expect(await ids(other)).toEqual([]);
  await expect(other.experimental.tasks.cancelTask(task.taskId)).rejects.toThrow('task not found');
  expect(taskStore.getAllTasks().map(({ taskId }) => taskId)).not.toContain(task.taskId);
  expect(await client.experimental.tasks.cancelTask(task.taskId)).toMatchObject({ taskId: task.taskId, status: 'cancelled' });
  await expect(client.experimental.tasks.cancelTask(task.taskId)).rejects.toThrow('terminal status');
});
