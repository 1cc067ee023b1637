import { expect, it } from 'vitest';
import type { NodeMcpHandler } from '../../src/gateway/handler-leg.ts';
import { handlerUpstream } from '../support/gateway-upstreams.ts';
import { startTestGateway } from '../support/gateway.ts';
import { askModern, modern } from '../support/modern-requests.ts';

/** A modern server that asks whatever it likes, as one on stdio could. */
const asking = (inputRequests: object): NodeMcpHandler => (_request, response, body) => {
  const { id, method } = body as { id: unknown; method: string };
  const result = method === 'server/discover'
    ? { resultType: 'complete', supportedVersions: [modern], capabilities: { tools: {} }, ttlMs: 0, cacheScope: 'private' }
    : { resultType: 'input_required', inputRequests, requestState: 'mine' };
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(method === 'initialize' ? { jsonrpc: '2.0', id, error: { code: -32601, message: 'no' } } : { jsonrpc: '2.0', id, result }));
};

const form = { ask: { method: 'elicitation/create', params: { mode: 'form', message: '?', requestedSchema: { type: 'object', properties: {} } } } };
const link = { ask: { method: 'elicitation/create', params: { mode: 'url', message: '?', url: 'https://example.com/' } } };

it.each([
  ['a form, of a client that declared nothing', form, {}, 400, -32021, { code: 'ERR_MCP_CAPABILITY', requiredCapabilities: { elicitation: {} } }],
  ['a form, of a client that has forms', form, { elicitation: { form: {} } }, 200, undefined, undefined],
  ['a form, of a client that has elicitation', form, { elicitation: {} }, 200, undefined, undefined],
  ['a link, of a client that has forms only', link, { elicitation: { form: {} } }, 400, -32021, { code: 'ERR_MCP_CAPABILITY', requiredCapabilities: { elicitation: { url: {} } } }],
  ['a model and roots, of a client that has roots', { a: { method: 'sampling/createMessage', params: {} }, b: { method: 'roots/list' } }, { roots: {} }, 400, -32021, { code: 'ERR_MCP_CAPABILITY', requiredCapabilities: { sampling: {} } }],
  ['what there is no question for', { ask: { method: 'tools/call', params: {} } }, { elicitation: {} }, 502, -32003, { code: 'ERR_UPSTREAM_INVALID' }],
])('a server that asks for %s is answered by the gateway', async (_what, questions, capabilities, status, code, data) => {
  const gateway = await startTestGateway({ upstreams: [handlerUpstream(asking(questions))] });
  const asked = await askModern(gateway, gateway.agent(), 'tools/call', { name: 'echo', arguments: { text: 'x' } }, { capabilities });
  expect([asked.status, asked.answer.error?.code]).toEqual([status, code]);
  if (data !== undefined) expect(asked.answer.error?.data).toEqual(data);
  expect(asked.body).not.toContain('mine');
  await gateway.close();
});
