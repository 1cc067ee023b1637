import { expect, test } from 'vitest';
import { withoutLogLevel, withoutTasks } from '../../src/mcp/client-capabilities.ts';
import { readMessages } from '../../src/mcp/read-messages.ts';

const read = (text: string) => readMessages(Buffer.from(text));

test('an initialize loses tasks and nothing else', () => {
  const cut = withoutTasks(read('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{},"tasks":{"list":{}}},"x":12345678901234567890}}'));
  expect(cut.text).toBe('{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"x":12345678901234567890}}');
  expect(cut.value).toStrictEqual(JSON.parse(cut.text));
  expect(cut.messages).toStrictEqual(read(cut.text).messages);
});

test.each([
  '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"roots":{}}}}',
  '{"jsonrpc":"2.0","id":1,"method":"initialize"}',
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"capabilities":{"tasks":{}}}}',
  '[{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{"tasks":{}}}}]',
])('%s comes back as it is', (text) => {
  const given = read(text);
  expect(withoutTasks(given)).toBe(given);
});

test('a modern request loses the level of log messages and nothing else', () => {
  const cut = withoutLogLevel(read('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"progressToken":1,"io.modelcontextprotocol/logLevel":"debug","x":1.0}}}'));
  expect(cut.text).toBe('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","_meta":{"progressToken":1,"x":1.0}}}');
  expect(cut.value).toStrictEqual(JSON.parse(cut.text));
  for (const text of ['{"jsonrpc":"2.0","id":1,"method":"tools/list"}', '{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{}}}', '{"jsonrpc":"2.0","id":1,"result":{}}']) {
    const given = read(text);
    expect(withoutLogLevel(given)).toBe(given);
  }
});
