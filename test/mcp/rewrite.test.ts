import { expect, it } from 'vitest';
import { readMessages } from '../../src/mcp/read-messages.ts';
import { withParams } from '../../src/mcp/rewrite.ts';

it('changes text, value and message alike, and keeps every digit of the rest', () => {
  const read = readMessages(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"c","n":12345678901234567890}}'));
  const { text, value, messages } = withParams(read, (params) => ({ ...params, cursor: 'd' }));
  expect(text).toBe('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"d","n":12345678901234567890}}');
  expect(value).toMatchObject({ params: { cursor: 'd' } });
  expect(messages).toMatchObject([{ kind: 'request', params: { cursor: 'd' } }]);
});

it('gives params to a request that had none', () => {
  expect(withParams(readMessages(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"tools/list"}')), () => ({ a: 1 })).text).toBe('{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"a":1}}');
});
