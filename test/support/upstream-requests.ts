/** Requests to an upstream as the gateway makes them, and what a test needs to read the answers. */
import { readFileSync } from 'node:fs';
import type { JsonRpcMessage } from '../../src/mcp/message.ts';
import { readMessages } from '../../src/mcp/read-messages.ts';
import type { Principal } from '../../src/identity/principal.ts';
import type { SseEvent, UpstreamAnswer, UpstreamRequest } from '../../src/upstream/upstream.ts';

export const principalNamed = (commonName: string): Principal => ({
  id: `cn:${commonName}`,
  trust: 'own', subject: `CN=${commonName}`,
  commonName,
  organizations: [],
  organizationalUnits: ['analytics'],
  uris: [],
  dnsNames: [],
  emails: [],
  issuerId: '00'.repeat(32),
  serial: '01',
  thumbprint: '00'.repeat(32),
  notBefore: new Date(0),
  notAfter: new Date(8.64e15),
});

const base = {
  era: 'legacy' as const,
  principal: principalNamed('agent-7'),
  roles: ['analyst'],
  session: undefined,
  protocolVersion: '2025-06-18',
  lastEventId: undefined,
  messages: [] as readonly JsonRpcMessage[],
  body: undefined,
};

export const post = (body: object | string, options: Partial<UpstreamRequest> = {}): UpstreamRequest => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const { messages } = readMessages(Buffer.from(text));
  return { ...base, method: 'POST', messages, body: text, signal: new AbortController().signal, ...options };
};

/** A request of revision 2026-07-28, with its envelope. */
export const modern = (message: { readonly id?: number | string; readonly method: string; readonly params?: object }, options: Partial<UpstreamRequest> = {}): UpstreamRequest => {
  const envelope = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' }, 'io.modelcontextprotocol/clientCapabilities': {} };
  const params = { ...message.params, ...(message.id === undefined ? {} : { _meta: envelope }) };
  return post({ jsonrpc: '2.0', ...message, params }, { era: 'modern', protocolVersion: '2026-07-28', ...options });
};

export const get = (options: Partial<UpstreamRequest> = {}): UpstreamRequest => ({ ...base, method: 'GET', signal: new AbortController().signal, ...options });

export const remove = (options: Partial<UpstreamRequest> = {}): UpstreamRequest => ({ ...base, method: 'DELETE', signal: new AbortController().signal, ...options });

export const initialize = (options: Partial<UpstreamRequest> = {}): UpstreamRequest =>
  post(
    { jsonrpc: '2.0', id: 0, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } } },
    { protocolVersion: undefined, ...options },
  );

export const call = (id: number | string, name: string, args: object = {}, meta?: object): object => ({
  jsonrpc: '2.0',
  id,
  method: 'tools/call',
  params: { name, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) },
});

export const notification = (method: string, params: object = {}): object => ({ jsonrpc: '2.0', method, params });

/** Whether a process runs; one that has ended but was not reaped by its parent does not. */
export const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+[ZX]/mu.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    // No /proc here, or gone just now.
    return process.platform !== 'linux';
  }
};

/** The parsed text of a JSON answer. */
export const jsonOf = (answer: UpstreamAnswer): { id: unknown; result: Record<string, unknown>; error: Record<string, unknown> } => {
  if (answer.kind !== 'json') throw new Error(`expected a JSON answer, got ${answer.kind} ${answer.status}`);
  return JSON.parse(answer.text) as ReturnType<typeof jsonOf>;
};

export const eventsOf = (answer: UpstreamAnswer): AsyncIterator<SseEvent> => {
  if (answer.kind !== 'stream') throw new Error(`expected a stream, got ${answer.kind} ${answer.status}`);
  return answer.events[Symbol.asyncIterator]();
};

export const allEventsOf = async (answer: UpstreamAnswer): Promise<SseEvent[]> => {
  if (answer.kind !== 'stream') throw new Error(`expected a stream, got ${answer.kind} ${answer.status}`);
  const events: SseEvent[] = [];
  for await (const event of answer.events) events.push(event);
  return events;
};

export interface Logged {
  readonly level: 'debug' | 'info' | 'warn';
  readonly facts: Record<string, unknown>;
  readonly message: string;
}

export const recordingLog = (): { entries: Logged[]; debug: (facts: object, message: string) => void; info: (facts: object, message: string) => void; warn: (facts: object, message: string) => void } => {
  const entries: Logged[] = [];
  const at = (level: Logged['level']) => (facts: object, message: string): void => {
    entries.push({ level, facts: { ...facts }, message });
  };
  return { entries, debug: at('debug'), info: at('info'), warn: at('warn') };
};
