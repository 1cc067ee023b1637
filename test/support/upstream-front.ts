/** Serves an upstream over plain HTTP, with a session id and an era as the gateway reads them, so that real MCP clients can speak to it. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { buffer } from 'node:stream/consumers';
import { codeOf, errorTable, SallyportError } from '../../src/errors.ts';
import { classify } from '../../src/mcp/era.ts';
import { readMessages } from '../../src/mcp/read-messages.ts';
import { encodeSseEvent } from '../../src/mcp/sse.ts';
import type { Upstream, UpstreamRequest } from '../../src/upstream/upstream.ts';
import { serveOnLoopback } from './mcp-servers/loopback.ts';
import type { Loopback } from './mcp-servers/loopback.ts';
import { principalNamed } from './upstream-requests.ts';

const one = (header: string | string[] | undefined): string | undefined => (Array.isArray(header) ? header[0] : header);

export const serveUpstream = (upstream: Upstream, principal = principalNamed('agent-7')): Promise<Loopback> =>
  serveOnLoopback((request, response) => {
    serve(upstream, principal, request, response).catch((error: unknown) => {
      if (response.headersSent) {
        response.destroy();
        return;
      }
      const row = errorTable[codeOf(error)];
      const id = error instanceof SallyportError ? (error.facts['id'] ?? null) : null;
      response.writeHead(row.http, { 'content-type': 'application/json' }).end(JSON.stringify({ jsonrpc: '2.0', id, error: { code: row.jsonRpc, message: error instanceof Error ? error.message : '' } }));
    });
  });

const serve = async (upstream: Upstream, principal: UpstreamRequest['principal'], request: IncomingMessage, response: ServerResponse): Promise<void> => {
  const { method } = request;
  if (method !== 'POST' && method !== 'GET' && method !== 'DELETE') throw new TypeError('unexpected method');
  const read = method === 'POST' ? readMessages(await buffer(request)) : undefined;
  const protocolVersion = one(request.headers['mcp-protocol-version']);
  const era = read === undefined ? 'legacy' : classify({ protocolVersion, method: one(request.headers['mcp-method']), name: one(request.headers['mcp-name']) }, read).era;
  const aborting = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) aborting.abort(new SallyportError('ERR_HTTP_ABANDONED', 'the client went away'));
  });
  const answer = await upstream.exchange({
    era, method, principal, roles: ['analyst'], session: one(request.headers['mcp-session-id']), protocolVersion, lastEventId: one(request.headers['last-event-id']),
    messages: read?.messages ?? [], body: read?.text, paramHeaders: {}, signal: aborting.signal,
  });
  const session = answer.session === undefined ? {} : { 'mcp-session-id': answer.session };
  if (answer.kind === 'empty') response.writeHead(answer.status, session).end();
  else if (answer.kind === 'json') response.writeHead(answer.status, { 'content-type': 'application/json', ...session }).end(answer.text);
  else {
    response.writeHead(200, { 'content-type': 'text/event-stream', ...session });
    response.flushHeaders();
    for await (const event of answer.events) response.write(encodeSseEvent(event));
    response.end();
  }
};
