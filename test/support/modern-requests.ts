/** Requests of the modern era (2026-07-28) exactly as a test writes them. */
import { encodeHeaderValue } from '../../src/mcp/header-value.ts';
import type { TestGateway } from './gateway.ts';
import { jsonHeaders, rawRequest } from './gateway-requests.ts';
import type { RawAnswer, RawRequest } from './gateway-requests.ts';
import type { TestIdentity } from './pki.ts';

export const modern = '2026-07-28';

export interface ModernOptions {
  readonly id?: string | number;
  readonly capabilities?: object;
  readonly meta?: object;
  /** Replaces the headers that mirror the body, by lower-case name; undefined leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly path?: string;
}

export const envelope = ({ capabilities = {}, meta = {} }: ModernOptions = {}): object => ({
  'io.modelcontextprotocol/protocolVersion': modern,
  'io.modelcontextprotocol/clientInfo': { name: 'by-hand', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': capabilities,
  ...meta,
});

export const modernRequest = (method: string, params: Readonly<Record<string, unknown>> = {}, options: ModernOptions = {}): RawRequest => {
  const name = method === 'resources/read' ? params['uri'] : method.startsWith('tasks/') ? params['taskId'] : method === 'tools/call' || method === 'prompts/get' ? params['name'] : undefined;
  const headers: Record<string, string | undefined> = {
    'mcp-protocol-version': modern, 'mcp-method': method, ...(typeof name === 'string' ? { 'mcp-name': encodeHeaderValue(name) } : {}), ...options.headers,
  };
  return {
    headers: [...jsonHeaders, ...Object.entries(headers).filter((pair): pair is [string, string] => pair[1] !== undefined)],
    body: { jsonrpc: '2.0', id: options.id ?? 1, method, params: { ...params, _meta: envelope(options) } },
    ...(options.path === undefined ? {} : { path: options.path }),
  };
};

/** Sends one and reads the answer to its end. */
export const askModern = (gateway: TestGateway, identity: TestIdentity, method: string, params?: Readonly<Record<string, unknown>>, options?: ModernOptions): Promise<RawAnswer> =>
  rawRequest(gateway, identity, modernRequest(method, params, options));
