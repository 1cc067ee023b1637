/** HTTP challenge, RFC 8555 §8.3 and RFC 8738 §4. */
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AcmeProblem } from '../problem.ts';
import { connectTo, deadlineOf, endedBy } from './network.ts';
import type { Validation, ValidationNetwork } from './network.ts';

/** Octets of the answer; a key authorization has fewer than 200. */
const maxOctets = 4 * 1024;
const maxRedirects = 5;
const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Resolves when the host shows the key authorization. @throws AcmeProblem */
export const validateHttp01 = async ({ identifier, token, keyAuthorization }: Validation, network: ValidationNetwork): Promise<void> => {
  const signal = deadlineOf(network);
  const host = isIP(identifier.value) === 6 ? `[${identifier.value}]` : identifier.value;
  let url = new URL(`http://${host}${network.httpPort === 80 ? '' : `:${network.httpPort}`}/.well-known/acme-challenge/${token}`);
  for (let followed = 0; ; followed++) {
    const answer = await fetched(url, network, signal);
    if (answer.location === undefined) {
      check(answer, url, keyAuthorization);
      return;
    }
    if (followed === maxRedirects) throw new AcmeProblem('connection', `more than ${maxRedirects} redirections, the last one from ${url.href}`);
    url = target(answer.location, url, network);
  }
};

const check = ({ status, text }: Answer, url: URL, keyAuthorization: string): void => {
  // What the host said is not repeated: it may be anything that can be reached from here.
  if (status !== 200) throw new AcmeProblem('unauthorized', `${url.href} was answered with status ${status}, where 200 and the key authorization are needed`);
  // RFC 8555 §8.3: white space at the end is ignored.
  if (text?.trimEnd() !== keyAuthorization) throw new AcmeProblem('incorrectResponse', `${url.href} does not hold the key authorization of this challenge`);
};

/** Only to a host whose name could be ordered, at the two ports of validation. */
const target = (location: string, from: URL, network: ValidationNetwork): URL => {
  const url = URL.parse(location, from.href);
  const refuse = (why: string): AcmeProblem => new AcmeProblem('connection', `${from.href} redirects ${why}`);
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.username !== '' || url.password !== '') throw refuse('to something that is no http or https address');
  const wanted = url.protocol === 'http:' ? network.httpPort : network.tlsPort;
  if (url.port !== '' && Number(url.port) !== wanted) throw refuse(`to port ${url.port}, where only ${wanted} is followed`);
  if (!network.mayFollow(hostOf(url))) throw refuse(`to ${hostOf(url)}, for which no certificate could be ordered`);
  return url;
};

interface Answer {
  readonly status: number;
  readonly location: string | undefined;
  /** Undefined when it is too long to be one. */
  readonly text: string | undefined;
}

const fetched = async (url: URL, network: ValidationNetwork, signal: AbortSignal): Promise<Answer> => {
  const secure = url.protocol === 'https:';
  const plain = await connectTo(hostOf(url), secure ? network.tlsPort : network.httpPort, network, signal);
  let socket: Socket = plain;
  try {
    if (secure) socket = await wrapped(plain, hostOf(url), signal);
    return await endedBy(ask(url, socket), signal);
  } catch (cause) {
    if (cause instanceof AcmeProblem) throw cause;
    throw new AcmeProblem('connection', signal.aborted ? `${url.href} was not answered in time` : `${url.href} could not be fetched`, { cause });
  } finally {
    socket.destroy();
    plain.destroy();
  }
};

const ask = (url: URL, socket: Socket): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const request = httpRequest({
      // Without an agent, also in name: with one, even none, Node connects by itself to wherever the name leads.
      createConnection: () => socket, method: 'GET', path: url.pathname + url.search,
      headers: { host: url.host, 'user-agent': 'sallyport-acme-validation', accept: '*/*', connection: 'close' },
    });
    request.on('error', reject);
    request.once('response', (response) => void answered(response).then(resolve, reject));
    request.end();
  });

const answered = async (response: IncomingMessage): Promise<Answer> => {
  const { statusCode: status = 0, headers } = response;
  if (redirects.has(status) && headers.location !== undefined) return { status, location: headers.location, text: undefined };
  const parts: Buffer[] = [];
  let length = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    length += part.length;
    if (length > maxOctets) return { status, location: undefined, text: undefined };
    parts.push(part);
  }
  return { status, location: undefined, text: Buffer.concat(parts).toString('latin1') };
};

/** After a redirection only: whose certificate it is says nothing yet, since that is what is being ordered. */
const wrapped = (plain: Socket, host: string, signal: AbortSignal): Promise<Socket> =>
  endedBy(
    new Promise((resolve, reject) => {
      const socket = connectTls({ socket: plain, rejectUnauthorized: false, ...(isIP(host) === 0 ? { servername: host } : {}) });
      socket.once('secureConnect', () => resolve(socket));
      socket.on('error', reject);
    }),
    signal,
  );

const hostOf = (url: URL): string => url.hostname.replace(/^\[(.*)\]$/, '$1');
