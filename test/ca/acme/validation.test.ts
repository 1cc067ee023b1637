/** Hosts that prove a name, and hosts that try to make the CA connect to where it should not. */
import { createServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Server as TcpServer, Socket } from 'node:net';
import { hash } from 'node:crypto';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAllowedBy, parseRange } from '../../../ca/acme/address-range.ts';
import { AcmeProblem } from '../../../ca/acme/problem.ts';
import { validateHttp01 } from '../../../ca/acme/validation/http-01.ts';
import type { ValidationNetwork } from '../../../ca/acme/validation/network.ts';
import { serverName, validateTlsAlpn01 } from '../../../ca/acme/validation/tls-alpn-01.ts';
import { Validator } from '../../../ca/acme/validation/validator.ts';
import { signatureAlgorithmFor, signWith, spkiOf } from '../../../ca/x509/algorithm.ts';
import { assembleSigned, encodeTbsCertificate } from '../../../ca/x509/certificate.ts';
import { TAG, element, oid, sequence } from '../../../ca/x509/der.ts';
import { encodeSubjectAltName } from '../../../ca/x509/extension.ts';
import { encodeName } from '../../../ca/x509/name.ts';
import { encodePem } from '../../../ca/x509/pem.ts';
import { newKey } from '../../support/authority.ts';

const token = 'token';
const keyAuthorization = 'token.thumbprint';
const dns = { type: 'dns', value: 'web.acme.internal' } as const;
const validation = { identifier: dns, token, keyAuthorization };

let web: Server;
let answer: RequestListener;
let asked: string[] = [];
const portOf = (server: Server | TcpServer): number => (server.address() as AddressInfo).port;
const listening = (server: Server | TcpServer): Promise<void> =>
  new Promise((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });

beforeAll(async () => {
  web = createServer((request, response) => {
    asked.push(`${request.headers.host ?? ''}${request.url ?? ''}`);
    answer(request, response);
  });
  await listening(web);
});
afterAll(() => {
  web.closeAllConnections();
  web.close();
});

const loopback = ['127.0.0.0/8'].flatMap((range) => parseRange(range) ?? []);
const network = (changes: Partial<ValidationNetwork> = {}): ValidationNetwork => ({
  resolve: async () => ['127.0.0.1'],
  mayConnect: (address) => isAllowedBy(loopback, address),
  mayFollow: (host) => host.endsWith('.acme.internal'),
  httpPort: portOf(web), tlsPort: 1, timeoutMs: 5_000, closing: new AbortController().signal,
  ...changes,
});

const problemOf = async (work: Promise<void>): Promise<string | undefined> => {
  try {
    await work;
    return undefined;
  } catch (error) {
    if (error instanceof AcmeProblem) return `${error.type}: ${error.message}`;
    throw error;
  }
};

const http = (serve: RequestListener, changes?: Partial<ValidationNetwork>): Promise<string | undefined> => {
  answer = serve;
  asked = [];
  return problemOf(validateHttp01(validation, network(changes)));
};

describe('http-01', () => {
  it('takes the key authorization, with white space after it, and asks for nothing else', async () => {
    expect(await http((_, response) => response.end(`${keyAuthorization}\r\n`))).toBeUndefined();
    expect(asked).toEqual([`web.acme.internal:${portOf(web)}/.well-known/acme-challenge/token`]);
  });

  it('repeats nothing of what a host says instead', async () => {
    const other = await http((_, response) => response.end('root:x:0:0'));
    expect(other).toMatch(/^incorrectResponse: http:\/\/web\.acme\.internal.* does not hold the key authorization of this challenge$/);
    expect(await http((_, response) => response.writeHead(403).end('secret'))).toMatch(/^unauthorized: .* was answered with status 403/);
    expect(await http((_, response) => response.end(keyAuthorization + 'x'.repeat(5_000)))).toMatch(/^incorrectResponse/);
  });

  it('follows redirections to names that could be ordered, at the ports of validation, five at most', async () => {
    const to = (location: string): RequestListener => (request, response) => (request.headers.host?.startsWith('web') === true ? response.writeHead(302, { location }).end() : response.end(keyAuthorization));
    expect(await http(to(`http://proof.acme.internal:${portOf(web)}/here`))).toBeUndefined();
    expect(asked.at(-1)).toBe(`proof.acme.internal:${portOf(web)}/here`);
    expect(await http(to('http://elsewhere.example/'))).toMatch(/^connection: .* redirects to elsewhere\.example, for which no certificate could be ordered$/);
    expect(await http(to('http://proof.acme.internal:22/'))).toMatch(/^connection: .* redirects to port 22/);
    for (const location of ['ftp://proof.acme.internal/', 'http://user:word@proof.acme.internal/', 'http://[']) expect(await http(to(location))).toMatch(/^connection: .* redirects to something that is no http or https address$/);
    let turns = 0;
    expect(await http((_, response) => response.writeHead(301, { location: `/${(turns += 1)}` }).end())).toMatch(/^connection: more than 5 redirections/);
    expect(asked).toHaveLength(6);
  });

  it('connects only where it may, whatever a name leads to', async () => {
    const seen: string[] = [];
    const where = async (...addresses: readonly string[]): Promise<string | undefined> => http((_, response) => response.end(keyAuthorization), { resolve: async (name) => (seen.push(name), addresses), mayConnect: (address) => isAllowedBy(['127.0.0.1'].flatMap((range) => parseRange(range) ?? []), address) });
    expect(await where('169.254.169.254')).toMatch(/^connection: web\.acme\.internal is at 169\.254\.169\.254, which is outside what validation may connect to/);
    expect(await where('10.0.0.1', '::1')).toMatch(/^connection/);
    expect(await where()).toBe('dns: web.acme.internal has no address');
    expect(await where('not an address')).toBe('dns: web.acme.internal has no address');
    // The one that is allowed is asked; the name is resolved once for each request.
    expect(await where('10.0.0.1', '127.0.0.1')).toBeUndefined();
    expect(seen).toHaveLength(5);
    expect(await http((_, response) => response.end(), { resolve: async () => Promise.reject(new Error('SERVFAIL')) })).toBe('dns: web.acme.internal has no address, or it could not be asked for');
  });

  it('waits for an answer only so long', async () => {
    const sockets = new Set<Socket>();
    const silent = createTcpServer((socket) => sockets.add(socket.on('error', () => undefined)));
    await listening(silent);
    expect(await problemOf(validateHttp01(validation, network({ httpPort: portOf(silent), timeoutMs: 60 })))).toMatch(/^connection: .* was not answered in time$/);
    const closing = new AbortController();
    const broken = problemOf(validateHttp01(validation, network({ httpPort: portOf(silent), closing: closing.signal })));
    closing.abort();
    expect(await broken).toMatch(/^connection/);
    for (const socket of sockets) socket.destroy();
    silent.close();
    expect(await problemOf(validateHttp01(validation, network({ resolve: () => new Promise(() => undefined), timeoutMs: 60 })))).toMatch(/^dns/);
  });
});

interface Shown {
  readonly names?: Parameters<typeof encodeSubjectAltName>[0];
  readonly digestOf?: string;
  readonly critical?: boolean;
  readonly extension?: boolean;
  readonly protocols?: readonly string[];
}

/** RFC 8737 §3, or nearly. */
const certificateOf = ({ names = { dnsNames: [dns.value] }, digestOf = keyAuthorization, critical = true, extension = true }: Shown): { readonly key: string; readonly cert: string } => {
  const key = newKey();
  const subject = [[{ type: 'CN', value: 'challenge' }]];
  const proof = sequence(oid('1.3.6.1.5.5.7.1.31'), ...(critical ? [element(TAG.boolean, Uint8Array.of(0xff))] : []), element(TAG.octetString, element(TAG.octetString, new Uint8Array(hash('sha256', digestOf, 'buffer')))));
  const tbs = encodeTbsCertificate({
    serial: Uint8Array.of(1), issuerName: encodeName(subject), subject, notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 3_600_000), spki: spkiOf(key),
    signatureAlgorithm: signatureAlgorithmFor('p256'), extensions: [encodeSubjectAltName(names), ...(extension ? [proof] : [])],
  });
  return { key: key.export({ format: 'pem', type: 'pkcs8' }).toString(), cert: encodePem('CERTIFICATE', assembleSigned(tbs, signatureAlgorithmFor('p256'), signWith(key, tbs))) };
};

const tls = async (shown: Shown = {}, identifier: { readonly type: 'dns' | 'ip'; readonly value: string } = dns): Promise<{ readonly problem: string | undefined; readonly name: string | undefined }> => {
  let name: string | undefined;
  const server = createTlsServer({ ...certificateOf(shown), ALPNProtocols: [...(shown.protocols ?? ['acme-tls/1'])], SNICallback: (asking, done) => done(null, void (name = asking)) });
  server.on('tlsClientError', () => undefined);
  await listening(server);
  const problem = await problemOf(validateTlsAlpn01({ ...validation, identifier }, network({ tlsPort: portOf(server) })));
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return { problem, name };
};

describe('tls-alpn-01', () => {
  it('takes the certificate that holds the name and the proof', async () => {
    expect(await tls()).toEqual({ problem: undefined, name: 'web.acme.internal' });
    expect(await tls({ names: { ipAddresses: ['127.0.0.1'] } }, { type: 'ip', value: '127.0.0.1' })).toEqual({ problem: undefined, name: '1.0.0.127.in-addr.arpa' });
    expect(serverName('2001:db8::1')).toBe('1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa');
  });

  it.each([
    ['another name', { names: { dnsNames: ['db.acme.internal'] } }, 'unauthorized: the certificate shown for web.acme.internal must have this name as its only one'],
    ['a second name', { names: { dnsNames: [dns.value, 'db.acme.internal'] } }, 'unauthorized: the certificate shown for web.acme.internal must have this name as its only one'],
    ['no proof', { extension: false }, 'unauthorized: the certificate shown for web.acme.internal has no acmeIdentifier extension: the server does not know of the challenge'],
    ['a proof that is not critical', { critical: false }, 'unauthorized: the certificate shown for web.acme.internal has an acmeIdentifier extension that is not critical'],
    ['the proof of another challenge', { digestOf: 'other' }, 'unauthorized: the certificate shown for web.acme.internal holds the proof of another challenge'],
    ['another protocol', { protocols: ['h2'] }, 'tls: the handshake with web.acme.internal failed: it must offer acme-tls/1 by ALPN'],
  ] satisfies readonly (readonly [string, Shown, string])[])('refuses %s', async (_what, shown, problem) => {
    expect((await tls(shown)).problem).toBe(problem);
  });
});

describe('attempts', () => {
  it('are made again after a pause, and no more once they are used up', async () => {
    const paused: number[] = [];
    const validator = new Validator({ network: network(), pausesMs: [1_000, 3_000], sleep: async (ms) => void paused.push(ms) });
    let times = 0;
    answer = (_, response) => response.end((times += 1) < 3 ? 'not yet' : keyAuthorization);
    expect(await validator.validate('http-01', validation)).toBeUndefined();
    expect(paused).toEqual([1_000, 3_000]);
    answer = (_, response) => response.end('never');
    expect((await validator.validate('http-01', validation))?.type).toBe('incorrectResponse');
    expect(paused).toEqual([1_000, 3_000, 1_000, 3_000]);
  });
});
