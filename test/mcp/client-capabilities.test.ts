import { expect, test } from 'vitest';
import { withoutTasks } from '../../src/mcp/client-capabilities.ts';
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
