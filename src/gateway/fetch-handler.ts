/** Lets a fetch-style MCP handler (SDK v2 `handler.fetch`) be served by Node's http. */
import type { IncomingMessage } from 'node:http';
import type { CertificateAuthInfo } from './auth-info.ts';
import type { NodeMcpHandler } from './handler-leg.ts';
import { sendWebResponse } from './web-response.ts';

/** The shape of SDK v2 `handler.fetch`; others may ignore the second argument. */
export type FetchMcpHandler = (request: Request, options: { authInfo?: CertificateAuthInfo; parsedBody?: unknown }) => Promise<Response>;

export const nodeHandlerOf = (handler: FetchMcpHandler): NodeMcpHandler => async (request, response, parsedBody) => {
  const aborting = new AbortController();
  response.once('close', () => aborting.abort());
  const answer = await handler(webRequestOf(request, parsedBody, aborting.signal), {
    ...(request.auth === undefined ? {} : { authInfo: request.auth }),
    ...(parsedBody === undefined ? {} : { parsedBody }),
  });
  await sendWebResponse(answer, response);
};

const webRequestOf = (request: IncomingMessage, parsedBody: unknown, signal: AbortSignal): Request => {
  const headers = new Headers();
  for (let index = 0; index < request.rawHeaders.length; index += 2) headers.append(request.rawHeaders[index] ?? '', request.rawHeaders[index + 1] ?? '');
  const method = request.method ?? 'GET';
  return new Request(new URL(request.url ?? '/', `https://${request.headers.host ?? 'localhost'}`), {
    method,
    headers,
    signal,
    // The body was read by the gate; a handler that looks at it in spite of parsedBody finds the same value.
    ...(method === 'POST' ? { body: JSON.stringify(parsedBody) } : {}),
  });
};
