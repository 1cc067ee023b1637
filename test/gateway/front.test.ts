import { assert, constantFrom, dictionary, property, string } from 'fast-check';
import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { SallyportError } from '../../src/errors.ts';
import { readFront } from '../../src/gateway/front.ts';

const base = { host: 'localhost:8443', accept: 'application/json, text/event-stream', 'content-type': 'application/json' };
const requestOf = (method: string, headers: Record<string, string | undefined>): IncomingMessage => {
  const given = Object.fromEntries(Object.entries({ ...base, ...headers }).filter(([, value]) => value !== undefined));
  return { method, headers: given, rawHeaders: Object.entries(given).flat() } as unknown as IncomingMessage;
};
const options = { allowedHosts: ['localhost', 'gate.acme.internal:8443', '[::1]'], allowedOrigins: ['https://inspector.acme.internal'] };
const outcome = (method: string, headers: Record<string, string | undefined> = {}): unknown => {
  try {
    return readFront(requestOf(method, headers), options).method;
  } catch (error) {
    return error instanceof SallyportError ? error.code : error;
  }
};

describe('the head of a request', () => {
  it.each<[string, string | undefined, string]>([
    ['localhost', 'localhost', 'POST'], ['any port of an entry without one', 'localhost:1', 'POST'], ['an entry with its port', 'GATE.acme.internal:8443', 'POST'],
    ['an entry with another port', 'gate.acme.internal:8444', 'ERR_HTTP_HOST'], ['an entry without its port', 'gate.acme.internal', 'ERR_HTTP_HOST'],
    ['IPv6', '[::1]', 'POST'], ['IPv6 with a port', '[::1]:8443', 'POST'], ['another IPv6', '[::2]', 'ERR_HTTP_HOST'],
    ['a port that is none', 'localhost:99x', 'ERR_HTTP_HOST'], ['no host', undefined, 'ERR_HTTP_HOST'], ['an empty host', '', 'ERR_HTTP_HOST'],
  ])('with %s', (_what, host, expected) => expect(outcome('POST', { host })).toBe(expected));

  it.each<[string, string, string | undefined, string]>([
    ['both types', 'POST', 'application/json, text/event-stream', 'POST'], ['with weights', 'POST', 'text/event-stream;q=0.5, application/json', 'POST'], ['anything', 'POST', '*/*', 'POST'],
    ['JSON only', 'POST', 'application/json', 'ERR_HTTP_NOT_ACCEPTABLE'], ['a stream only', 'POST', 'text/event-stream', 'ERR_HTTP_NOT_ACCEPTABLE'], ['nothing', 'POST', undefined, 'ERR_HTTP_NOT_ACCEPTABLE'],
    ['JSON for GET', 'GET', 'application/json', 'ERR_HTTP_NOT_ACCEPTABLE'], ['a stream for GET', 'GET', 'text/event-stream', 'GET'], ['nothing for DELETE', 'DELETE', undefined, 'DELETE'],
  ])('that accepts %s', (_what, method, accept, expected) => expect(outcome(method, { accept })).toBe(expected));

  it.each<[string, string]>([['a space', 'a b'], ['a character beyond ASCII', 'ä'], ['nothing', ''], ['too much', 'x'.repeat(1025)]])('with a session id that holds %s', (_what, id) => {
    expect(outcome('POST', { 'mcp-session-id': id })).toBe('ERR_HTTP_HEADER');
    expect(outcome('GET', { 'last-event-id': id })).toBe('ERR_HTTP_HEADER');
  });

  it.each(['Host', 'Mcp-Name', 'mcp-method', 'Mcp-Protocol-Version', 'Mcp-Session-Id', 'Content-Type', 'Mcp-Param-Region'])('with %s twice', (name) => {
    const once = requestOf('POST', { [name.toLowerCase()]: 'localhost' });
    const twice = { ...once, rawHeaders: [...once.rawHeaders, name, 'localhost'] } as unknown as IncomingMessage;
    expect(() => readFront(twice, options)).toThrow(expect.objectContaining({ code: 'ERR_HTTP_HEADER', facts: { header: name.toLowerCase() } }));
  });

  it('never throws anything but a coded refusal', () => {
    assert(property(dictionary(constantFrom('host', 'origin', 'accept', 'content-type', 'content-encoding', 'mcp-session-id', 'mcp-protocol-version', 'last-event-id'), string()), constantFrom('POST', 'GET', 'DELETE', 'PUT'), (headers, method) => {
      expect(outcome(method, headers)).toMatch(/^(?:POST|GET|DELETE|ERR_HTTP_[A-Z_]+)$/);
    }), { numRuns: 300 });
  });
});
