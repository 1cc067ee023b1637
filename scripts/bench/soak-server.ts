/** The gateway's TLS port under soak, telling how much memory it holds. */
import { createServer } from 'node:http';
import { RevocationIndex } from '../../src/revocation/revocation-index.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { attachHttp } from '../../src/tls/attach-http.ts';
import { createTlsListener } from '../../src/tls/listener.ts';
import { TrustStore } from '../../src/tls/trust.ts';
import type { HandshakeServerJob } from './handshake-server.ts';

process.once('message', ({ key, cert, issuing, root }: Pick<HandshakeServerJob, 'key' | 'cert' | 'issuing' | 'root'>) => {
  const trust = new TrustStore({ issuing: [issuing], roots: [root] });
  const index = new RevocationIndex({ randomness: systemRandomness });
  index.replaceIssuer(trust.issuers[0]?.issuerId ?? '', index.newTable(), { freshUntil: Number.POSITIVE_INFINITY });
  const listener = createTlsListener({ key, cert, trust, index, clock: systemClock, onRefused: () => {} });
  attachHttp(listener, createServer((_request, response) => { response.end('ok'); }));
  process.on('disconnect', () => { process.exit(); });
  void listener.listen(0, '127.0.0.1').then(({ port }) => {
    process.on('message', () => {
      // Only what is really held counts: with --expose-gc the rest goes first.
      globalThis.gc?.();
      process.send?.({ rss: process.memoryUsage.rss(), connections: listener.connections.size });
    });
    process.send?.({ port });
  });
});
