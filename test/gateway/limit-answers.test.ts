import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { expect, it } from 'vitest';
import { errorTable, SallyportError } from '../../src/errors.ts';
import type { GateErrorCode } from '../../src/errors.ts';
import { sendError } from '../../src/gateway/answer.ts';

const answerOf = (code: GateErrorCode, complete = true): { readonly status: number; readonly headers: OutgoingHttpHeaders; readonly body: string } => {
  let head: { status: number; headers: OutgoingHttpHeaders } = { status: 0, headers: {} };
  let body = '';
  const response = {
    headersSent: false, destroyed: false,
    writeHead: (status: number, headers: OutgoingHttpHeaders) => void (head = { status, headers }),
    end: (text: string) => void (body = text),
  };
  sendError({ complete } as IncomingMessage, response as unknown as ServerResponse, new SallyportError(code, 'the detail'), 1);
  return { ...head, body };
};

const caps = (Object.keys(errorTable) as GateErrorCode[]).filter((code) => code.startsWith('ERR_LIMIT_'));

it('knows a cap for each thing that an agent could take too much of', () => {
  expect(caps).toEqual(['ERR_LIMIT_SESSIONS', 'ERR_LIMIT_STREAMS', 'ERR_LIMIT_REQUESTS', 'ERR_LIMIT_RATE', 'ERR_LIMIT_CONCURRENT', 'ERR_LIMIT_SUBSCRIPTIONS']);
});

it.each(caps)('%s is answered 429, and says when to come back', (code) => {
  const { status, headers, body } = answerOf(code);
  expect([status, headers['retry-after'], headers['cache-control']]).toEqual([429, '1', 'no-store']);
  expect(JSON.parse(body)).toMatchObject({ id: 1, error: { code: -32002, data: { code } } });
  expect(body).not.toContain('the detail');
});

it.each<[GateErrorCode, number]>([['ERR_HTTP_BODY_TOO_LARGE', 413], ['ERR_HTTP_BODY_TIMEOUT', 408]])('%s is answered %i, and ends the connection that the rest of the body comes by', (code, expected) => {
  const { status, headers } = answerOf(code, false);
  expect([status, headers['connection']]).toEqual([expected, 'close']);
});

it('a call that ran for too long is answered 504', () => {
  expect(answerOf('ERR_UPSTREAM_TIMEOUT').status).toBe(504);
});
