import { afterEach, describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { SessionTable } from '../../src/gateway/sessions.ts';
import type { Session, SessionEnd } from '../../src/gateway/sessions.ts';
import { systemRandomness } from '../../src/system.ts';
import { principalNamed } from '../support/upstream-requests.ts';

const tables: SessionTable[] = [];
afterEach(() => tables.splice(0).forEach((table) => table.closeAll()));

const tableOf = (limits = { sessionsPerPrincipal: 2, sessionIdleMs: 60_000 }) => {
  const ended: [string, SessionEnd][] = [];
  const clock = { ms: 0, now: () => new Date(clock.ms) };
  const table = new SessionTable({ clock, randomness: systemRandomness, limits, onEnd: (session: Session, cause) => ended.push([session.id, cause]) });
  tables.push(table);
  return { table, ended, clock };
};
const alice = principalNamed('alice');
const facts = { upstream: 'main', upstreamSession: 'theirs' };
const codeOf = (act: () => unknown): unknown => {
  try {
    return act();
  } catch (error) {
    return (error as SallyportError).code;
  }
};

describe('a session', () => {
  it('gives back the places of what it subscribed to when it ends', () => {
    const { table } = tableOf();
    const session = table.create(alice, facts);
    const given: string[] = [];
    for (const uri of ['file:///1', 'file:///2']) session.subscribed.set(uri, () => given.push(uri));
    table.end(session, 'deleted');
    table.end(session, 'closed');
    expect(given).toEqual(['file:///1', 'file:///2']);
  });

  it('is found by its principal on its upstream only, and a foreign one is as unknown as any', () => {
    const { table } = tableOf();
    const session = table.create(alice, facts);
    expect(table.use(session.id, alice, 'main')).toBe(session);
    expect(codeOf(() => table.use(session.id, principalNamed('bob'), 'main'))).toBe('ERR_MCP_SESSION_UNKNOWN');
    expect(codeOf(() => table.use(session.id, alice, 'other'))).toBe('ERR_MCP_SESSION_UNKNOWN');
    expect(codeOf(() => table.use('theirs', alice, 'main'))).toBe('ERR_MCP_SESSION_UNKNOWN');
  });

  it('follows the certificate that used it last', () => {
    const { table, ended } = tableOf();
    const session = table.create(alice, facts);
    const renewed = { ...alice, serial: '02' };
    table.use(session.id, renewed, 'main');
    const error = new SallyportError('ERR_PEER_REVOKED', 'revoked');
    expect(table.endByCertificate(alice.issuerId, alice.serial, error)).toBe(0);
    expect(table.certificates()).toEqual([{ issuerId: alice.issuerId, serial: '02' }]);
    expect(table.endByCertificate(alice.issuerId, '02', error)).toBe(1);
    expect(ended).toEqual([[session.id, 'revoked']]);
    expect([table.size, table.certificates()]).toEqual([0, []]);
  });

  it('ends once, with everything it has open', () => {
    const { table, ended } = tableOf();
    const session = table.create(alice, facts);
    const reasons: string[] = [];
    session.exchanges.add(({ code }) => reasons.push(code));
    table.end(session, 'deleted');
    table.end(session, 'idle');
    expect([ended, reasons]).toEqual([[[session.id, 'deleted']], ['ERR_MCP_SESSION_UNKNOWN']]);
  });
});

describe('places for sessions', () => {
  it('count those about to open, and are given back once', () => {
    const { table } = tableOf();
    const release = table.reserve(alice);
    const session = table.create(alice, facts);
    expect(codeOf(() => table.reserve(alice))).toBe('ERR_LIMIT_SESSIONS');
    expect(codeOf(() => table.reserve(principalNamed('bob')))).toBeTypeOf('function');
    release();
    release();
    table.reserve(alice);
    expect(codeOf(() => table.reserve(alice))).toBe('ERR_LIMIT_SESSIONS');
    table.end(session, 'deleted');
    table.reserve(alice);
  });
});
