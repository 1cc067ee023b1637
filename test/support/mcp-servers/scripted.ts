/** An MCP server in this process that answers from a script, to show what no SDK would: pages, states and tasks of both eras. */
import type { IncomingHttpHeaders } from 'node:http';
import type { NodeMcpHandler } from '../../../src/gateway/handler-leg.ts';

type Params = Record<string, unknown>;

export interface ScriptedRequest {
  readonly method: string;
  readonly params: Params;
  readonly headers: IncomingHttpHeaders;
}

/** What comes before the answer, on one SSE stream with it, and the answer. */
export interface ScriptedAnswer {
  readonly before?: readonly object[];
  readonly result?: object;
  readonly error?: object;
}

/** By method; one that is not there is answered as unknown. */
export type Script = Readonly<Record<string, (request: ScriptedRequest) => ScriptedAnswer>>;

export interface Scripted {
  readonly handler: NodeMcpHandler;
  /** Requests as they reached it. */
  readonly requests: readonly ScriptedRequest[];
}

const capabilities = { tools: { listChanged: true }, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {} };

const opening: Script = {
  'initialize': ({ params }) => ({ result: { protocolVersion: params.protocolVersion, capabilities: { ...capabilities, tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } } }, serverInfo: { name: 'scripted', version: '1' } } }),
  'server/discover': () => ({
    result: { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { ...capabilities, extensions: { 'io.modelcontextprotocol/tasks': {} } }, ttlMs: 0, cacheScope: 'private' },
  }),
};

export const scripted = (script: Script): Scripted => {
  const requests: ScriptedRequest[] = [];
  const answers: Script = { ...opening, ...script };
  const handler: NodeMcpHandler = (request, response, parsedBody) => {
    const message = parsedBody as { id?: unknown; method?: string; params?: Params } | undefined;
    if (message?.id === undefined || message.method === undefined) {
      response.writeHead(request.method === 'POST' ? 202 : 405).end();
      return;
    }
    const asked = { method: message.method, params: message.params ?? {}, headers: { ...request.headers } };
    requests.push(asked);
    const { before = [], ...answer } = answers[asked.method]?.(asked) ?? { error: { code: -32601, message: 'Method not found' } };
    const texts = [...before.map((one) => ({ jsonrpc: '2.0', ...one })), { jsonrpc: '2.0', id: message.id, ...answer }].map((one) => JSON.stringify(one));
    if (before.length === 0) response.writeHead(200, { 'content-type': 'application/json' }).end(texts[0]);
    else response.writeHead(200, { 'content-type': 'text/event-stream' }).end(texts.map((text) => `data: ${text}\n\n`).join(''));
  };
  return { handler, requests };
};
