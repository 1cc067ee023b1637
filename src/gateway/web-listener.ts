/** Serves web handlers, (Request) → Response, over Node's http: CRLs, CA certificates, health, enrollment. */
import type { IncomingMessage, RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { codeOf, errorTable } from '../errors.ts';
import { readBody } from './body.ts';
import type { BodyLimits } from './body.ts';
import { sendWebResponse } from './web-response.ts';

/** What a handler may know of the far end beside the request. */
export interface WebPeer {
  readonly address: string | undefined;
  /** The connection, for listeners that ask for a certificate. */
  readonly socket: Socket;
}

export type WebHandler = (request: Request, peer: WebPeer) => Promise<Response>;

export interface WebListenerOptions {
  readonly handler: WebHandler;
  readonly limits: BodyLimits;
  readonly onFailure: (error: unknown, address: string | undefined) => void;
}

export const webListener = (options: WebListenerOptions): RequestListener => async (request, response) => {
  const address = request.socket.remoteAddress;
  try {
    const answer = await options.handler(await webRequestOf(request, options.limits), { address, socket: request.socket });
    await sendWebResponse(answer, response);
  } catch (error) {
    options.onFailure(error, address);
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const row = errorTable[codeOf(error)];
    const text = JSON.stringify({ error: { code: codeOf(error), message: row.public } });
    response.writeHead(row.http, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...(request.complete ? {} : { connection: 'close' }) });
    response.end(text);
  }
};

const webRequestOf = async (request: IncomingMessage, limits: BodyLimits): Promise<Request> => {
  const method = request.method ?? 'GET';
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) if (value !== undefined && !name.startsWith(':')) headers.set(name, Array.isArray(value) ? value.join(', ') : value);
  const body = method === 'GET' || method === 'HEAD' ? undefined : await readBody(request, limits);
  // The path is taken as it came: no host of the peer's choosing enters the URL.
  const path = request.url?.startsWith('/') === true ? request.url : '/';
  return new Request(`http://listener${path}`, { method, headers, ...(body === undefined ? {} : { body: new Uint8Array(body) }) });
};
