import { describe, expect, it } from 'vitest';
import { AnswerFilter, eventIdBinding, openEventId } from '../../src/gateway/answer-filter.ts';
import type { AnswerFilterOptions } from '../../src/gateway/answer-filter.ts';
import type { InFlight, Session } from '../../src/gateway/sessions.ts';
import { SeenNames } from '../../src/mcp/instructions.ts';
import { SealedValues } from '../../src/mcp/sealed-values.ts';
import { Sealer } from '../../src/mcp/sealing.ts';
import type { RequestId } from '../../src/mcp/message.ts';
import { systemRandomness } from '../../src/system.ts';
import { principalNamed } from '../support/upstream-requests.ts';

const sealer = new Sealer({ key: systemRandomness.bytes(32), randomness: systemRandomness });
const sessionOf = (inFlight: readonly [RequestId, InFlight][] = []): Session => ({
  id: 's', principalId: 'cn:agent-7', upstream: 'main', upstreamSession: 'u', protocolVersion: undefined, lastCertificate: { issuerId: '', serial: '' }, lastUsedAt: 0,
  exchanges: new Set(), inFlight: new Map(inFlight), awaited: new Map(), subscribed: new Map(),
});
const filterOf = (pending: readonly [RequestId, InFlight][], more: Partial<AnswerFilterOptions> = {}) => {
  const dropped: RequestId[] = [];
  const filter = new AnswerFilter({
    era: 'legacy', upstream: 'main', principal: principalNamed('agent-7'), session: () => undefined, pending: new Map(pending), sealer, hasClass: () => true,
    hasAll: () => false, isDenied: () => false, revisions: ['2026-07-28'], values: new SealedValues({ sealer, clock: { now: () => new Date() } }), names: new SeenNames(),
    allows: (action) => action.kind === 'tool' && action.name === 'echo', onAnswered: () => undefined, onDroppedRequest: (id) => dropped.push(id), ...more,
  });
  return { filter, dropped };
};
const list: InFlight = { method: 'tools/list', params: undefined };
const tools = '{"tools":[{"name":"echo","n":12345678901234567890},{"name":"rm"}]}';
const event = (data: string, id?: string) => ({ data, id, event: undefined, retry: undefined });

describe('an answer', () => {
  it('loses what the principal may not call, and keeps every digit of the rest', () => {
    expect(filterOf([[1, list]]).filter.json(`{"jsonrpc":"2.0","id":1,"result":${tools}}`)).toBe('{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo","n":12345678901234567890}]}}');
  });

  it('is cut by its shape when nobody knows what was asked, and by the session when it does', () => {
    expect(filterOf([]).filter.json(`{"jsonrpc":"2.0","id":9,"result":${tools}}`)).not.toContain('rm');
    const session = sessionOf([[9, { method: 'tools/call', params: { name: 'echo' } }]]);
    const text = `{"jsonrpc":"2.0","id":9,"result":${tools}}`;
    expect(filterOf([], { session: () => session }).filter.json(text)).toBe(text);
    expect(session.inFlight.size).toBe(0);
  });

  it('is given only once it was recorded, and its request stays open otherwise', () => {
    const pending = new Map<RequestId, InFlight>([[1, list]]);
    const { filter } = filterOf([], { pending, onAnswered: () => { throw new Error('full'); } });
    expect(() => filter.json(`{"jsonrpc":"2.0","id":1,"result":${tools}}`)).toThrow('full');
    expect(pending.size).toBe(1);
  });

  it.each(['{', '1', 'null', '{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":null,"result":{}}', '{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', '{"jsonrpc":"2.0","id":1,"result":[]}'])('that is %s is refused', (text) => {
    expect(() => filterOf([[1, list]]).filter.json(text)).toThrow(expect.objectContaining({ code: 'ERR_UPSTREAM_INVALID' }));
  });

  it('that is an array is filtered one by one', () => {
    const kept = filterOf([[1, list], [2, list]]).filter.json(`[{"jsonrpc":"2.0","id":1,"result":${tools}},{"jsonrpc":"2.0","method":"notifications/unknown"},{"jsonrpc":"2.0","id":2,"result":${tools}}]`);
    expect(JSON.parse(kept)).toHaveLength(2);
    expect(kept).not.toContain('rm');
  });
});

describe('what a server asks', () => {
  it('is remembered for one answer, with its progress token, up to a bound', () => {
    const session = sessionOf();
    const { filter } = filterOf([], { session: () => session });
    filter.event(event('{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage","params":{"_meta":{"progressToken":7}}}'));
    expect([...session.awaited]).toEqual([['q', 7]]);
    for (let id = 0; id < 2_000; id += 1) filter.event(event(`{"jsonrpc":"2.0","id":${id},"method":"ping"}`));
    expect(session.awaited.size).toBe(1024);
  });

  it('is dropped and named when it is nothing MCP knows', () => {
    const { filter, dropped } = filterOf([]);
    expect(filter.event(event('{"jsonrpc":"2.0","id":5,"method":"shell/exec"}'))).toBeUndefined();
    expect(filter.event(event('{"jsonrpc":"2.0","method":"notifications/shell"}'))).toBeUndefined();
    expect(filter.event(event('{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///x"}}'))).toBeUndefined();
    expect(dropped).toEqual([5]);
  });
});

describe('an event id', () => {
  it('leaves sealed and opens for its principal, session and upstream only', () => {
    const session = sessionOf();
    const { filter } = filterOf([], { session: () => session });
    expect(filter.resumable).toBe(false);
    const sealed = filter.event(event('', 'upstream-7'))?.id ?? '';
    expect([sealed.includes('upstream'), filter.resumable]).toEqual([false, true]);
    const mine = principalNamed('agent-7');
    expect(openEventId(sealer, eventIdBinding(mine, session, 'main'), sealed)).toBe('upstream-7');
    for (const other of [eventIdBinding(principalNamed('thief'), session, 'main'), eventIdBinding(mine, { ...session, id: 't' }, 'main'), eventIdBinding(mine, undefined, 'main'), eventIdBinding(mine, session, 'other')]) {
      expect(() => openEventId(sealer, other, sealed)).toThrow(expect.objectContaining({ code: 'ERR_MCP_EVENT_ID' }));
    }
  });
});
