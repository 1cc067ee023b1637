/** mcp.md rows 2 and 3: what was decided and what the MCP server reads is one message, to the last digit. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../../support/gateway.ts';
import type { TestGateway } from '../../support/gateway.ts';
import { callMessage, openSession, rawRequest } from '../../support/gateway-requests.ts';
import type { RawSession } from '../../support/gateway-requests.ts';
import type { UpstreamKind } from '../../support/gateway-upstreams.ts';

const call = (inside: string): string => `{"jsonrpc":"2.0","id":1,"method":"tools/call",${inside}}`;

describe.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('with a %s upstream', (kind) => {
  let gateway: TestGateway;
  let session: RawSession;
  beforeAll(async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    session = await openSession(gateway, gateway.agent());
  });
  afterAll(() => gateway.close());

  it.each([
    ['a name twice, the denied one last', call('"params":{"name":"echo","name":"delete_everything","arguments":{"text":"x"}}')],
    ['a name twice, the denied one first', call('"params":{"name":"delete_everything","name":"echo","arguments":{"text":"x"}}')],
    ['a name twice, once escaped', call('"params":{"name":"echo","na\\u006de":"delete_everything","arguments":{}}')],
    ['a name in another case', call('"params":{"name":"echo","Name":"delete_everything","arguments":{}}')],
    ['a name with a long s', call('"params":{"name":"echo","argument\\u017f":{},"arguments":{}}')],
    ['params twice', '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"},"params":{"name":"delete_everything"}}'],
    ['a method twice', '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"delete_everything"}}'],
    ['Method beside method', '{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{"name":"delete_everything"}}'],
    ['NUL in a key', call('"params":{"name":"echo","name\\u0000":"delete_everything"}')],
    ['__proto__', call('"params":{"name":"echo","arguments":{"__proto__":{"text":"x"}}}')],
    ['constructor', call('"params":{"name":"echo","arguments":{"constructor":{"prototype":{}}}}')],
    ['a lone surrogate', call('"params":{"name":"echo","arguments":{"text":"\\ud800"}}')],
    ['octets that are not UTF-8', Buffer.concat([Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping","x":"'), Buffer.from([0xff]), Buffer.from('"}')])],
    ['a byte order mark', `\ufeff${call('"params":{"name":"echo"}')}`],
    ['a comment', call('"params":{"name":"echo"}/* */')],
    ['a trailing message', `${call('"params":{"name":"echo"}')}${call('"params":{"name":"delete_everything"}')}`],
    ['NaN', call('"params":{"name":"echo","arguments":{"text":NaN}}')],
    ['nesting without end', call(`"params":{"name":"echo","arguments":{"a":${'['.repeat(5000)}${']'.repeat(5000)}}}`)],
    ['an id of null', '{"jsonrpc":"2.0","id":null,"method":"tools/call","params":{"name":"delete_everything"}}'],
    ['a request that is a response too', '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}'],
  ])('%s is refused before anyone acts on it', async (_what, body) => {
    const before = gateway.upstream.received().length;
    const answer = await session.post(body);
    expect(answer.status).toBe(400);
    expect(JSON.stringify(answer.answer.error?.data)).toMatch(/ERR_MCP_(?:PARSE|INVALID_REQUEST)/);
    expect(gateway.upstream.received()).toHaveLength(before);
    expect(gateway.evidence.events.at(-1)).toMatchObject({ action: 'request.refused', outcome: 'denied', agent: 'agent-7' });
  });

  // V8 takes `n\u0061me` for `n\u0` where an object of that shape had that name before (nodejs/node#63785).
  it('a name twice, once escaped so that Node.js mistakes it for another it has seen, is refused too', async () => {
    await session.post(call('"params":{"name":"echo","n\\\\u0":"x","arguments":{"text":"x"}}'));
    const before = gateway.upstream.received().length;
    const answer = await session.post(call('"params":{"name":"echo","n\\u0061me":"delete_everything","arguments":{"text":"x"}}'));
    expect([answer.status, answer.answer.error?.data]).toEqual([400, { code: 'ERR_MCP_INVALID_REQUEST' }]);
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it('an argument with an escape in its name reaches an MCP server on Node.js that has seen the name it is mistaken for', async () => {
    for (let round = 0; round < 3; round += 1) await session.post(call('"params":{"name":"echo","arguments":{"unheard-of":1,"t\\\\u0":"x"}}'));
    const answer = await session.post(call('"params":{"name":"echo","arguments":{"unheard-of":1,"t\\u0065xt":"written with an escape"}}'));
    expect(answer.answer.result).toMatchObject({ content: [{ text: 'written with an escape' }] });
  });

  it('a big integer comes back with every digit', async () => {
    const answer = await session.post(callMessage(2, 'big_integer'));
    expect(answer.body).toContain('12345678901234567890');
  });

  it('a big integer goes out with every digit', async () => {
    if (kind === 'v1' || kind === 'v2') return;
    // In this process the server gets the parsed value; JavaScript servers could read no more of it anyway.
    await session.post('{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x","n":12345678901234567890, "f":1.10}}}');
    expect(gateway.upstream.received().at(-1)).toContain('"n":12345678901234567890, "f":1.10');
  });

  it('a number that only looks like an allowed one satisfies no rule', async () => {
    const before = gateway.upstream.received().length;
    for (const value of ['100.00000000000000001', '1e-400', '0.99999999999999999999']) {
      const answer = await session.post(call(`"params":{"name":"echo_number","arguments":{"value":${value}}}`));
      expect(answer.answer.error?.data).toEqual({ code: 'ERR_MCP_ARGUMENTS' });
    }
    expect(gateway.upstream.received()).toHaveLength(before);
  });

  it('a body that is no object at all is refused', async () => {
    for (const body of ['', 'null', '1', '"tools/call"', '[]', '[[]]', '{}']) {
      expect((await rawRequest(gateway, gateway.agent(), { body })).status).toBe(400);
    }
  });
});
