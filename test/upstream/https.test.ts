import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { afterEach, describe, expect, it } from 'vitest';
import { createHttpUpstream } from '../../src/upstream/http.ts';
import type { HttpUpstreamOptions } from '../../src/upstream/http.ts';
import { call, post, recordingLog } from '../support/upstream-requests.ts';

const ending: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ending.splice(0).toReversed()) await end();
});

/** A self-signed certificate that is its own authority. */
const selfSigned = async (name: string): Promise<{ cert: string; key: string }> => {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    { name: `CN=${name}`, keys, signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' }, extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'ip', value: '127.0.0.1' }])] },
    webcrypto as unknown as Crypto,
  );
  const pkcs8 = await webcrypto.subtle.exportKey('pkcs8', keys.privateKey);
  return { cert: certificate.toString('pem'), key: x509.PemConverter.encode(pkcs8, 'PRIVATE KEY') };
};

describe('an upstream over TLS', () => {
  it('is trusted by the configured authority only, and gets the configured certificate', async () => {
    const [server, client] = await Promise.all([selfSigned('upstream'), selfSigned('gateway')]);
    let peer: string | undefined;
    const https = createServer({ ...server, ca: client.cert, requestCert: true, rejectUnauthorized: true }, (request, response) => {
      peer = (request.socket as TLSSocket).getPeerCertificate().subject.CN as string;
      request.resume();
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"jsonrpc":"2.0","id":1,"result":{}}');
    });
    await new Promise<void>((resolve) => {
      https.listen(0, '127.0.0.1', resolve);
    });
    ending.push(async () => {
      https.closeAllConnections();
      https.close();
    });
    const exchange = async (tls: HttpUpstreamOptions['tls']): Promise<string> => {
      const upstream = createHttpUpstream({ name: 'warehouse', url: `https://127.0.0.1:${(https.address() as AddressInfo).port}/mcp`, tls, log: recordingLog() });
      ending.push(() => upstream.close());
      return (await upstream.exchange(post(call(1, 'query')))).kind;
    };
    expect(await exchange({ ca: server.cert, ...client })).toBe('json');
    expect(peer).toBe('gateway');
    await expect(exchange(client)).rejects.toMatchObject({
      code: 'ERR_UPSTREAM_UNREACHABLE',
      message: 'the certificate of the upstream is not signed by a CA that is trusted for it: set tls.ca of this upstream to the CA it has its certificate from',
      facts: { reason: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    });
    await expect(exchange({ ca: server.cert })).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
  });
});
