/** An MCP server of both eras whose tool `begin` makes a task, and that costs nearly nothing, so that what is measured in front of it is the gateway. */
import type { ServerResponse } from 'node:http';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';

export interface LightHandlerOptions {
  /** Tools offered besides `echo`, named `tool_0` and so on. Default 0. */
  readonly tools?: number;
}

interface Asked {
  readonly id?: string | number;
  readonly method?: string;
  readonly params?: { readonly name?: string; readonly arguments?: { readonly text?: string }; readonly notifications?: object };
}

const serverInfo = { name: 'light', version: '1' };
const capabilities = { tools: { listChanged: true }, tasks: {}, extensions: { 'io.modelcontextprotocol/tasks': {} } };
/** What a modern result has besides. */
const modernFields = { resultType: 'complete', ttlMs: 0, cacheScope: 'private', _meta: { 'io.modelcontextprotocol/serverInfo': serverInfo } };

export const createLightHandler = ({ tools = 0 }: LightHandlerOptions = {}): NodeMcpHandler => {
  const text = { type: 'object', properties: { text: { type: 'string' } } };
  const listed = [
    { name: 'echo', description: 'Gives back its text', inputSchema: text },
    ...Array.from({ length: tools }, (_, index) => ({ name: `tool_${index}`, description: `The tool of number ${index}, described in about as many words as tools usually are`, inputSchema: text })),
  ];
  let sessions = 0;
  return (request, response, body) => {
    if (request.method === 'GET') return openStream(response);
    if (request.method === 'DELETE') return void response.writeHead(200).end();
    const asked = body as Asked;
    if (asked.id === undefined) return void response.writeHead(202).end();
    const modern = request.headers['mcp-protocol-version'] === '2026-07-28';
    const answer = (result: object, headers: Record<string, string> = {}): void => {
      response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify({ jsonrpc: '2.0', id: asked.id, result: modern ? { ...modernFields, ...result } : result }));
    };
    switch (asked.method) {
      case 'initialize':
        return answer({ protocolVersion: '2025-11-25', capabilities, serverInfo }, { 'mcp-session-id': `light-${(sessions += 1)}` });
      case 'server/discover':
        return answer({ supportedVersions: ['2026-07-28'], capabilities });
      case 'tools/list':
        return answer({ tools: listed });
      case 'tools/call':
        if (asked.params?.name === 'begin') return answer({ resultType: 'task', taskId: `light-task-${asked.id}`, status: 'working' });
        return answer({ content: [{ type: 'text', text: asked.params?.arguments?.text ?? '' }] });
      case 'subscriptions/listen': {
        openStream(response);
        const params = { notifications: asked.params?.notifications ?? {}, _meta: { 'io.modelcontextprotocol/subscriptionId': asked.id } };
        response.write(`event: message\ndata: ${JSON.stringify({ jsonrpc: '2.0', method: 'notifications/subscriptions/acknowledged', params })}\n\n`);
        return undefined;
      }
      default:
        return answer({});
    }
  };
};

const openStream = (response: ServerResponse): void => {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.flushHeaders();
};
