import { describe, expect, it } from 'vitest';
import type { AuditEvent } from '../../ca/ports.ts';
import { Gate } from '../../src/gateway/gate.ts';
import { readMessages } from '../../src/mcp/read-messages.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { principal } from '../policy/support.ts';

const policy = parsePolicy(`
roles:
  analyst: { grants: [{ upstream: main, tools: [free, { name: query, arguments: { properties: { sql: { type: string, pattern: "^SELECT " }, n: { type: number } } } }] }] }
bindings:
  - { role: analyst, when: { organizationalUnit: "*" } }
`);
const gateOf = (available = true) => {
  const events: AuditEvent[] = [];
  return { events, gate: new Gate({ policy, evidence: { available, enqueue: (event) => events.push(event) }, clock: { now: () => new Date(0) }, auditArguments: 'digest' }) };
};
const caller = { principal: principal(), upstream: 'main', session: undefined, address: undefined };
const admit = (name: string, args: string) => {
  const { gate, events } = gateOf();
  const admission = gate.admit(caller, readMessages(Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"${name}","arguments":${args}}}`)), 'legacy');
  return admission.outcome === 'admitted' ? 'admitted' : [admission.answers[0]?.code, events[0]?.reason];
};

describe('the gate', () => {
  it.each([
    ['names that differ in case', '{"sql":"SELECT 1","SQL":"DROP"}'],
    ['names that look alike deeper down', '{"sql":"SELECT 1","more":[{"K":1,"\u212a":2}]}'],
    ['a number that a double cannot hold', '{"sql":"SELECT 1","n":9007199254740993}'],
  ])('lets no rule about arguments be satisfied by those with %s, and asks nothing of them where there is no rule', (_what, args) => {
    expect([admit('query', '{"sql":"SELECT 1","n":9007199254740991}'), admit('query', args), admit('free', args)]).toEqual(['admitted', ['ERR_MCP_ARGUMENTS', 'argumentsRefused'], 'admitted']);
  });

  it('admits nothing while decisions cannot be recorded', () => {
    const { gate } = gateOf(false);
    for (const method of ['ping', 'tools/call']) {
      expect(() => gate.admit(caller, readMessages(Buffer.from(`{"jsonrpc":"2.0","id":1,"method":"${method}","params":{"name":"free"}}`)), 'legacy')).toThrow(expect.objectContaining({ code: 'ERR_AUDIT_UNAVAILABLE' }));
    }
  });
});
