/** The connections to one HTTP upstream. New TLS material starts new ones; what runs on the old ones may end there. */
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import { SallyportError } from '../errors.ts';
import { connectionOptions } from './http-health.ts';
import type { FlatHeaders } from './http-request.ts';
import type { HttpUpstreamTls } from './http-tls.ts';

export interface HttpConnectionsOptions {
  readonly upstream: string;
  readonly origin: string;
  readonly limits: { readonly connectTimeoutMs: number; readonly answerTimeoutMs: number };
}

/** Streams stay open for hours; kept apart, they do not make the pool of calls long to search. */
type Kind = 'calls' | 'streams';

export class HttpConnections {
  readonly #options: HttpConnectionsOptions;
  /** Pools whose last requests are still running. */
  readonly #ending = new Set<Pool>();
  #pools: Readonly<Record<Kind, Pool>>;

  constructor(options: HttpConnectionsOptions, tls: HttpUpstreamTls | undefined) {
    this.#options = options;
    this.#pools = this.#open(tls);
  }

  dispatch(kind: Kind, options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#pools[kind].dispatch(options, handler);
  }

  /** Sends DELETE, and does not care for the answer. */
  async end(path: string, headers: FlatHeaders): Promise<void> {
    const { body } = await this.#pools.calls.request({ path, method: 'DELETE', headers });
    await body.dump();
  }

  /** `cut`: whom we trust has changed, so nothing goes on with whom we trusted before. */
  replaceTls(tls: HttpUpstreamTls, { cut }: { readonly cut: boolean }): void {
    for (const pool of Object.values(this.#pools)) {
      this.#ending.add(pool);
      void pool.close().catch(() => undefined).then(() => this.#ending.delete(pool));
    }
    this.#pools = this.#open(tls);
    if (!cut) return;
    const error = new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'whom to trust at the upstream was changed: try again', { facts: { upstream: this.#options.upstream } });
    for (const pool of this.#ending) pool.destroy(error).catch(() => undefined);
  }

  async close(error: Error): Promise<void> {
    await Promise.all([...Object.values(this.#pools), ...this.#ending].map((pool) => pool.destroy(error)));
  }

  #open(tls: HttpUpstreamTls | undefined): Readonly<Record<Kind, Pool>> {
    return { calls: this.#pool(tls), streams: this.#pool(tls) };
  }

  #pool(tls: HttpUpstreamTls | undefined): Pool {
    const { origin, limits } = this.#options;
    return new Pool(origin, {
      pipelining: 1,
      allowH2: false,
      headersTimeout: limits.answerTimeoutMs,
      bodyTimeout: 0,
      connect: {
        timeout: limits.connectTimeoutMs,
        // A resumed session repeats the verdict of its first handshake; here each one looks at the certificate.
        maxCachedSessions: 0,
        ...connectionOptions(tls),
        ...(tls?.serverName === undefined ? {} : { servername: tls.serverName }),
      },
    });
  }
}
