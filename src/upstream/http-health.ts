/** Whether an HTTP upstream takes connections now: TCP, and with https the handshake in which both sides show their certificates. */
import { connect as connectTcp } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { SallyportError } from '../errors.ts';
import { failureOf } from './http-failure.ts';
import type { HttpTarget } from './http-request.ts';
import type { HttpUpstreamTls } from './http-tls.ts';

export interface DialOptions {
  readonly upstream: string;
  readonly target: HttpTarget;
  readonly tls: HttpUpstreamTls | undefined;
  readonly timeoutMs: number;
}

/** A server judges the client's certificate after the handshake is over for the client; this long it has to object. */
const objectionMs = 250;

/** Dials and hangs up. Resolves with what is wrong, or with nothing. */
export const dial = ({ upstream, target, tls, timeoutMs }: DialOptions): Promise<SallyportError | undefined> =>
  new Promise((resolve) => {
    const { hostname: host, port, secure } = target;
    const socket = secure ? connectTls({ host, port, ...connectionOptions(tls), ...(tls?.serverName === undefined ? serverNameOf(host) : { servername: tls.serverName }), ALPNProtocols: ['http/1.1'] }) : connectTcp({ host, port });
    let timer = setTimeout(() => done(new SallyportError('ERR_UPSTREAM_UNREACHABLE', 'the upstream does not answer: check that it runs and that its url is right', { facts: { upstream, reason: 'timeout' } })), timeoutMs);
    const done = (failure?: SallyportError): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(failure);
    };
    const fail = (cause: unknown): void => done(failureOf(cause, { upstream, secure }));
    socket.once('error', fail).once('end', () => fail(Object.assign(new Error('closed'), { code: 'ECONNRESET' })));
    if (!secure) {
      socket.once('connect', () => done());
      return;
    }
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      timer = setTimeout(done, objectionMs);
    });
    // An alert must be read to be noticed.
    socket.resume();
  });

/** In the form Node's TLS takes it, without what is undefined. */
export const connectionOptions = ({ ca, cert, key }: HttpUpstreamTls = {}): { rejectUnauthorized: true; ca?: string; cert?: string; key?: string } => ({
  // Said, so that no environment variable can say otherwise.
  rejectUnauthorized: true,
  ...(ca === undefined ? {} : { ca }),
  ...(cert === undefined ? {} : { cert }),
  ...(key === undefined ? {} : { key }),
});

/** RFC 6066 §3: addresses are not sent as server names. */
const serverNameOf = (host: string): { servername?: string } => (/^[\d.]+$|:/u.test(host) ? {} : { servername: host });
