/** A listener on a free loopback port with what tests observe of it. */
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { request } from 'node:https';
import type { RequestOptions } from 'node:https';
import type { SecureContextOptions } from 'node:tls';
import { attachHttp } from '../../src/tls/attach-http.ts';
import { createTlsListener } from '../../src/tls/listener.ts';
import type { RefusedPeer, TlsListener, TlsListenerOptions } from '../../src/tls/listener.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity, TestPki } from '../support/pki.ts';

/** A clock that tests move. */
export class MovedClock {
  offsetMs = 0;
  now(): Date {
    return new Date(Date.now() + this.offsetMs);
  }
}

export interface Port {
  readonly pki: TestPki;
  readonly trust: TrustStore;
  readonly index: RevocationIndex;
  readonly clock: MovedClock;
  readonly refused: RefusedPeer[];
  readonly listener: TlsListener;
  readonly http: Server;
  readonly requests: string[];
  readonly port: number;
  close(): Promise<void>;
}

export const openPort = async (
  options: Partial<TlsListenerOptions> & { readonly pki?: TestPki; readonly handler?: RequestListener; readonly http?: object } = {},
): Promise<Port> => {
  const pki = options.pki ?? createTestPki();
  const trust = options.trust ?? new TrustStore({ issuing: [pki.issuing.certPem], roots: [pki.root.certPem] });
  const index = options.index ?? freshIndex(pki);
  const clock = new MovedClock();
  const refused: RefusedPeer[] = [];
  const requests: string[] = [];
  const server = pki.issuing.server();
  const listener = createTlsListener({
    key: server.keyPem, cert: server.chainPem, clock, onRefused: (peer) => { refused.push(peer); }, ...options, trust, index,
  });
  const http = createServer(options.http ?? {}, (req, res) => {
    requests.push(req.url ?? '');
    if (options.handler !== undefined) options.handler(req, res);
    else res.end(listener.peerOf(req.socket as never)?.principal.id ?? 'nobody');
  });
  attachHttp(listener, http);
  const { port } = await listener.listen(0, '127.0.0.1');
  return {
    pki, trust, index, clock, refused, listener, http, requests, port,
    close: async () => {
      http.close();
      await listener.close();
    },
  };
};

/** Nothing revoked, and for ever current. */
export const freshIndex = (pki: TestPki): RevocationIndex => {
  const index = new RevocationIndex({ randomness: systemRandomness });
  index.replaceIssuer(pki.issuing.certificate.spkiHash, index.newTable(), { freshUntil: Number.POSITIVE_INFINITY });
  return index;
};

export interface Answer {
  readonly status: number;
  readonly body: string;
}

export const credentials = (pki: TestPki, identity: TestIdentity | undefined): SecureContextOptions & { servername: string } => ({
  ca: pki.root.certPem, servername: 'localhost', ...(identity === undefined ? {} : { key: identity.keyPem, cert: identity.chainPem }),
});

/** One HTTPS request on a connection of its own. */
export const call = (port: Port, identity: TestIdentity | undefined, options: RequestOptions = {}): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port: port.port, path: '/mcp', agent: false, ...credentials(port.pki, identity), ...options }, (res) => {
      let body = '';
      res.setEncoding('utf8').on('data', (chunk: string) => { body += chunk; }).on('end', () => { resolve({ status: res.statusCode ?? 0, body }); }).on('error', reject);
    });
    req.on('error', reject);
    req.end();
  });

export const until = async (condition: () => boolean, what: string): Promise<void> => {
  const end = Date.now() + 5_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`did not happen within five seconds: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 5); });
  }
};
