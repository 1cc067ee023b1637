/** An MCP server that answers exactly as a test says, behind the interface of an upstream. */
import { systemRandomness } from '../../src/system.ts';
import type { Era } from '../../src/mcp/revisions.ts';
import { defaultTranslationLimits } from '../../src/translation/limits.ts';
import type { TranslationLimits } from '../../src/translation/limits.ts';
import { translated } from '../../src/translation/translated.ts';
import { EventQueue } from '../../src/upstream/event-queue.ts';
import type { SseEvent, Upstream, UpstreamAnswer, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { recordingLog } from '../support/upstream-requests.ts';

export interface Asked {
  readonly id?: number | string;
  readonly method: string | undefined;
  readonly params: Record<string, unknown>;
  /** The whole message. */
  readonly message: Record<string, unknown>;
  readonly request: UpstreamRequest;
}

/** Undefined: the usual answer to it. */
export type Script = (asked: Asked) => UpstreamAnswer | undefined | Promise<UpstreamAnswer | undefined>;

export class ScriptedUpstream implements Upstream {
  readonly name = 'scripted';
  readonly asked: Asked[] = [];
  readonly endedSessions: string[] = [];
  readonly #eras: readonly Era[];
  readonly #script: Script;

  constructor(era: Era, script: Script) {
    this.#eras = [era];
    this.#script = script;
  }

  async eras(): Promise<readonly Era[]> {
    return this.#eras;
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const message = JSON.parse(request.body ?? '{}') as Record<string, unknown>;
    const { id, method, params } = message as { id?: number; method?: string; params?: Record<string, unknown> };
    const asked: Asked = { ...(id === undefined ? {} : { id }), method: request.method === 'POST' ? method : request.method, params: params ?? {}, message, request };
    this.asked.push(asked);
    return (await this.#script(asked)) ?? usual(asked);
  }

  async endSession(session: string): Promise<void> {
    this.endedSessions.push(session);
  }

  async endPrincipal(): Promise<void> {}

  async healthy(): Promise<boolean> {
    return true;
  }

  async close(): Promise<void> {}

  /** The messages of one method, as they came. */
  of(method: string): readonly Asked[] {
    return this.asked.filter((one) => one.method === method);
  }

  /** Responses that were posted. */
  get responses(): readonly Record<string, unknown>[] {
    return this.asked.filter(({ method }) => method === undefined).map(({ message }) => message);
  }
}

const usual = ({ id, method, request }: Asked): UpstreamAnswer => {
  if (method === 'initialize') return result(id, { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'scripted', version: '1' } }, 's1');
  if (method === 'server/discover') return result(id, { resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities: { tools: {} }, _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'scripted', version: '1' } } });
  if (request.method === 'GET') return { kind: 'empty', status: 405 };
  return id === undefined || method === undefined ? { kind: 'empty', status: 202 } : result(id, {});
};

export const result = (id: unknown, value: object, session?: string): UpstreamAnswer => ({ kind: 'json', status: 200, text: JSON.stringify({ jsonrpc: '2.0', id, result: value }), session });

export const failure = (id: unknown, code: number, status = 200, data?: object): UpstreamAnswer => ({
  kind: 'json', status, text: JSON.stringify({ jsonrpc: '2.0', id, error: { code, message: `error ${code}`, ...(data === undefined ? {} : { data }) } }),
});

export interface Spoken {
  readonly answer: UpstreamAnswer;
  say(message: object, id?: string): void;
  end(): void;
  readonly left: () => boolean;
}

/** A stream that says what the test has it say. */
export const spoken = (signal?: AbortSignal): Spoken => {
  let left = false;
  const queue = new EventQueue({ pendingBytes: 1_000_000, onPressure: () => undefined, onLeft: () => (left = true) });
  signal?.addEventListener('abort', () => queue.leave(), { once: true });
  return {
    answer: { kind: 'stream', status: 200, events: queue },
    say: (message, id) => queue.push({ id, event: undefined, data: JSON.stringify({ jsonrpc: '2.0', ...message }), retry: 1 }),
    end: () => queue.end(),
    left: () => left,
  };
};

export const translate = (upstream: Upstream, limits: Partial<TranslationLimits> = {}): Upstream => translated(upstream, { randomness: systemRandomness, log: recordingLog(), limits: { ...defaultTranslationLimits, gatherMs: 5, ...limits } });

/** The next message of a stream, parsed. */
export const next = async (events: AsyncIterator<SseEvent>): Promise<Record<string, unknown>> => {
  const event = await events.next();
  if (event.done === true) throw new Error('the stream has ended');
  return JSON.parse(event.value.data) as Record<string, unknown>;
};

/** The last message of an answer, parsed. */
export const last = async (answer: UpstreamAnswer): Promise<Record<string, unknown>> => {
  if (answer.kind === 'json') return JSON.parse(answer.text) as Record<string, unknown>;
  if (answer.kind === 'empty') throw new Error(`an empty answer (${answer.status})`);
  let text = '';
  for await (const event of answer.events) text = event.data;
  return JSON.parse(text) as Record<string, unknown>;
};
