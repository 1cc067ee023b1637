/** HTTP servers on loopback that answer exactly as a test says, and upstreams in front of them, ended together. */
import { createServer } from 'node:http';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Server as NetServer, AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import type { HttpUpstreamOptions } from '../../src/upstream/http.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { recordingLog } from './upstream-requests.ts';

export interface Received {
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  /** Parsed, when there is a body. */
  readonly message: { readonly id?: unknown; readonly method?: string; readonly params?: Record<string, unknown> } | undefined;
}

export class UpstreamLab {
  readonly #ending: (() => unknown)[] = [];
  /** Ended first: servers wait for the connections that these keep. */
  readonly #upstreams: Upstream[] = [];

  /** Call it after each test. */
  async end(): Promise<void> {
    await Promise.all(this.#upstreams.splice(0).map((upstream) => upstream.close()));
    for (const end of this.#ending.splice(0).toReversed()) await end();
  }

  onEnd(end: () => unknown): void {
    this.#ending.push(end);
  }

  /** Listens on a free loopback port, or on the one given; answers with the url of `/mcp` there. */
  async listen(server: NetServer, options: { readonly scheme?: string; readonly port?: number } = {}): Promise<string> {
    await new Promise<void>((resolve) => {
      server.listen(options.port ?? 0, '127.0.0.1', resolve);
    });
    this.onEnd(() => new Promise((resolve) => {
      server.close(resolve);
      if ('closeAllConnections' in server) (server as unknown as { closeAllConnections(): void }).closeAllConnections();
    }));
    return `${options.scheme ?? 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  }

  serve(listener: RequestListener): Promise<string> {
    return this.listen(createServer(listener));
  }

  upstream(url: string, options: Partial<HttpUpstreamOptions> = {}): { readonly upstream: Upstream; readonly log: ReturnType<typeof recordingLog> } {
    const log = recordingLog();
    const upstream = createHttpUpstream({ name: 'warehouse', url, log, ...options });
    this.#upstreams.push(upstream);
    return { upstream, log };
  }

  /** A server that records what it is asked, and the upstream in front of it. */
  async recording(answer: (received: Received, response: ServerResponse, request: IncomingMessage) => void, options: Partial<HttpUpstreamOptions> = {}): Promise<{ readonly upstream: Upstream; readonly log: ReturnType<typeof recordingLog>; readonly received: Received[]; readonly url: string }> {
    const received: Received[] = [];
    const url = await this.serve((request, response) => {
      void text(request).then((body) => {
        const one: Received = { method: request.method ?? '', headers: request.headers, body, message: body === '' ? undefined : (JSON.parse(body) as Exclude<Received['message'], undefined>) };
        received.push(one);
        answer(one, response, request);
      }, () => undefined);
    });
    return { ...this.upstream(url, options), received, url };
  }
}

export const sendJson = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void => {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body));
};
