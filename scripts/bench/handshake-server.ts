/** One server under measurement, in its own process, so that its CPU time is only its own. */
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { randomBytes } from 'node:crypto';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { attachHttp } from '../../src/tls/attach-http.ts';
import { createTlsListener } from '../../src/tls/listener.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import { serveJob } from './child.ts';
import { wordsOfHex } from '../../src/revocation/serial-words.ts';

export interface HandshakeServerJob {
  readonly kind: 'node' | 'sallyport';
  readonly tickets: boolean;
  readonly revoked: number;
  readonly key: string;
  readonly cert: string;
  readonly issuing: string;
  readonly root: string;
}

const start = async (job: HandshakeServerJob): Promise<number> => {
  if (job.kind === 'node') {
    const server = createServer({ key: job.key, cert: job.cert, ca: [job.issuing, job.root], requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, (_req, res) => { res.end('ok'); });
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    return (server.address() as AddressInfo).port;
  }
  const trust = new TrustStore({ issuing: [job.issuing], roots: [job.root] });
  const index = new RevocationIndex({ randomness: systemRandomness });
  const table = index.newTable(job.revoked);
  const words = new Uint32Array(5);
  for (let number = 0; number < job.revoked; number += 1) {
    wordsOfHex(`01${randomBytes(18).toString('hex')}`, words);
    table.add(words, 0, 1, 1);
  }
  index.replaceIssuer(trust.issuers[0]?.issuerId ?? '', table, { freshUntil: Number.POSITIVE_INFINITY });
  const listener = createTlsListener({
    key: job.key, cert: job.cert, trust, index, clock: systemClock, onRefused: () => {},
    sessionTickets: job.tickets ? { keys: randomBytes(48) } : 'none',
  });
  attachHttp(listener, createHttpServer((_req, res) => { res.end('ok'); }));
  return (await listener.listen(0, '127.0.0.1')).port;
};

serveJob(start);
