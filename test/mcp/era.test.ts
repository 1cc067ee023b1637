import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { classify, modernRevisions, nameMemberOf } from '../../src/mcp/era.ts';
import type { EraHeaders } from '../../src/mcp/era.ts';
import { encodeHeaderValue } from '../../src/mcp/header-value.ts';
import { readMessages } from '../../src/mcp/read-messages.ts';

const modern = '2026-07-28';
const none: EraHeaders = { protocolVersion: undefined, method: undefined, name: undefined };
const meta = (more: object = {}) => ({ 'io.modelcontextprotocol/protocolVersion': modern, 'io.modelcontextprotocol/clientCapabilities': {}, ...more });
const read = (value: unknown) => readMessages(Buffer.from(JSON.stringify(value)));
const request = (method: string, params?: object) => ({ jsonrpc: '2.0', id: 7, method, ...(params === undefined ? {} : { params }) });
const outcome = (headers: Partial<EraHeaders>, value: unknown): string => {
  try {
    return classify({ ...none, ...headers }, read(value)).era;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return `${error.code} ${String(error.facts['header'] ?? error.facts['missing'] ?? error.facts['malformed'] ?? error.facts['requested'] ?? '')}`.trim();
  }
};

describe('the era of a message', () => {
  const call = request('tools/call', { name: 'echo', _meta: meta() });
  const agreeing = { protocolVersion: modern, method: 'tools/call', name: 'echo' };
  const initialize = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'x', version: '1' } };
  it.each<[string, Partial<EraHeaders>, unknown, string]>([
    ['a request without envelope', {}, request('tools/list'), 'legacy'],
    ['a request without envelope under a legacy header', { protocolVersion: '2025-11-25' }, request('tools/list'), 'legacy'],
    ['a request without envelope under a modern header', { protocolVersion: modern }, request('tools/list'), 'ERR_MCP_ENVELOPE _meta'],
    ['a request with other meta under a modern header', { protocolVersion: modern }, request('tools/list', { _meta: { progressToken: 1 } }), 'ERR_MCP_ENVELOPE io.modelcontextprotocol/protocolVersion'],
    ['a request with its envelope and headers', agreeing, call, 'modern'],
    ['a request with its envelope and no headers', {}, call, 'ERR_MCP_HEADER_MISMATCH mcp-protocol-version'],
    ['a request whose header names a legacy revision', { ...agreeing, protocolVersion: '2025-11-25' }, call, 'ERR_MCP_HEADER_MISMATCH mcp-protocol-version'],
    ['a request without Mcp-Method', { ...agreeing, method: undefined }, call, 'ERR_MCP_HEADER_MISMATCH mcp-method'],
    ['a request whose Mcp-Method has a space more', { ...agreeing, method: 'tools/ call' }, call, 'ERR_MCP_HEADER_MISMATCH mcp-method'],
    ['a request without Mcp-Name', { ...agreeing, name: undefined }, call, 'ERR_MCP_HEADER_MISMATCH mcp-name'],
    ['a request whose Mcp-Name has another case', { ...agreeing, name: 'Echo' }, call, 'ERR_MCP_HEADER_MISMATCH mcp-name'],
    ['a request whose Mcp-Name is broken Base64', { ...agreeing, name: '=?base64?ZWNobw?=' }, call, 'ERR_MCP_HEADER_MISMATCH mcp-name'],
    ['a method that has no name', { protocolVersion: modern, method: 'tools/list' }, request('tools/list', { _meta: meta() }), 'modern'],
    ['an envelope without capabilities', agreeing, request('tools/call', { _meta: { 'io.modelcontextprotocol/protocolVersion': modern } }), 'ERR_MCP_ENVELOPE io.modelcontextprotocol/clientCapabilities'],
    ['an envelope with a number for a revision', agreeing, request('tools/call', { _meta: meta({ 'io.modelcontextprotocol/protocolVersion': 1 }) }), 'ERR_MCP_ENVELOPE io.modelcontextprotocol/protocolVersion'],
    ['an envelope with a nameless client', agreeing, request('tools/call', { _meta: meta({ 'io.modelcontextprotocol/clientInfo': {} }) }), 'ERR_MCP_ENVELOPE io.modelcontextprotocol/clientInfo'],
    ['an envelope with a log level of its own making', agreeing, request('tools/call', { _meta: meta({ 'io.modelcontextprotocol/logLevel': 'loud' }) }), 'ERR_MCP_ENVELOPE io.modelcontextprotocol/logLevel'],
    ['an envelope of an unknown revision', { ...agreeing, protocolVersion: '2030-01-01' }, request('tools/call', { name: 'echo', _meta: meta({ 'io.modelcontextprotocol/protocolVersion': '2030-01-01' }) }), 'ERR_MCP_REVISION_UNSUPPORTED 2030-01-01'],
    ['an envelope of a legacy revision', { ...agreeing, protocolVersion: '2025-06-18' }, request('tools/call', { name: 'echo', _meta: meta({ 'io.modelcontextprotocol/protocolVersion': '2025-06-18' }) }), 'ERR_MCP_REVISION_UNSUPPORTED 2025-06-18'],
    ['the handshake', {}, request('initialize', initialize), 'legacy'],
    ['the handshake under a modern header', { protocolVersion: modern }, request('initialize', initialize), 'ERR_MCP_HEADER_MISMATCH mcp-protocol-version'],
    ['the handshake with a broken envelope', {}, request('initialize', { ...initialize, _meta: { 'io.modelcontextprotocol/protocolVersion': modern } }), 'legacy'],
    ['the handshake in a whole envelope', { protocolVersion: modern, method: 'initialize' }, request('initialize', { ...initialize, _meta: meta() }), 'modern'],
    ['a response', {}, { jsonrpc: '2.0', id: 1, result: {} }, 'legacy'],
    ['a response under a modern header', { protocolVersion: modern }, { jsonrpc: '2.0', id: 1, result: {} }, 'ERR_MCP_UNSOLICITED'],
    ['a notification', {}, { jsonrpc: '2.0', method: 'notifications/initialized' }, 'legacy'],
    ['a notification under a modern header', { protocolVersion: modern }, { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }, 'modern'],
    ['a notification whose Mcp-Method differs', { protocolVersion: modern, method: 'ping' }, { jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 1 } }, 'ERR_MCP_HEADER_MISMATCH mcp-method'],
    ['a batch of legacy requests', {}, [request('ping')], 'legacy'],
    ['a batch under a modern header', { protocolVersion: modern }, [request('ping')], 'ERR_MCP_BATCH'],
    ['a batch with one modern request', {}, [request('ping'), { ...request('tools/list', { _meta: meta() }), id: 8 }], 'ERR_MCP_BATCH'],
  ])('%s', (_what, headers, value, expected) => {
    expect(outcome(headers, value)).toBe(expected);
  });

  it('comes with the id of what is refused', () => {
    expect(() => classify(none, read(call))).toThrow(expect.objectContaining({ facts: expect.objectContaining({ id: 7 }) }));
  });

  it('is modern for every name, if the header holds it encoded', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }).filter((name) => name.isWellFormed() && !name.includes('\u0000')), (name) => {
      const header = encodeHeaderValue(name);
      expect(header).toMatch(/^[\t\x20-\x7e]+$/);
      expect(outcome({ ...agreeing, name: header }, request('tools/call', { name, _meta: meta() }))).toBe('modern');
      expect(outcome({ ...agreeing, name: encodeHeaderValue(`${name}x`) }, request('tools/call', { name, _meta: meta() }))).toBe('ERR_MCP_HEADER_MISMATCH mcp-name');
    }), { numRuns: 200 });
  });
});

it('names the modern revisions, the newest first', () => {
  expect(modernRevisions).toStrictEqual([modern]);
});

it('mirrors the name of what is named, and of nothing else', () => {
  expect(['tools/call', 'prompts/get', 'resources/read', 'tasks/get', 'tasks/update', 'tasks/cancel', 'tools/list', 'constructor'].map(nameMemberOf)).toStrictEqual(['name', 'name', 'uri', 'taskId', 'taskId', 'taskId', undefined, undefined]);
});
