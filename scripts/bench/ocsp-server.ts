/** An OCSP responder over HTTP as the gateway's public listener has it, in a process of its own. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { CertificateAuthority, createOcspHandler } from '../../ca/index.ts';
import { OcspResponders } from '../../ca/ocsp-responders.ts';
import { OcspResponder } from '../../ca/ocsp.ts';
import { webListener } from '../../src/gateway/web-listener.ts';
import { openStore } from '../../src/store/open-store.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { serveJob } from './child.ts';

export interface OcspServerJob {
  /** Of an authority whose responder has its key and certificate already. */
  readonly directory: string;
  readonly store: string;
}

/** No bound: what is bounded in use is what is measured here. */
const unbounded = { perSecond: 1_000_000, burst: 1_000_000 };

/** What the public listener of a gateway does with a request. */
export const openResponder = async ({ directory, store: url }: OcspServerJob): Promise<OcspResponders> => {
  const store = await openStore(url, { clock: systemClock });
  const { issuing } = await CertificateAuthority.load({ directory, store: store.ca, trustDomain: 'bench.internal', clock: systemClock, randomness: systemRandomness });
  const responder = new OcspResponder({
    issuer: issuing, directory, passphrase: undefined, store: store.ca, clock: systemClock, randomness: systemRandomness,
    issue: () => Promise.reject(new Error('the responder has its certificate')),
    onError: (error) => { throw error; },
    onDemand: unbounded, keepable: unbounded,
  });
  const responders = new OcspResponders();
  responders.set(issuing.id, responder);
  responders.follow(() => true);
  return responders;
};

if (import.meta.main) {
  serveJob<OcspServerJob>(async (job) => {
    const handler = createOcspHandler({ responder: await openResponder(job), clock: systemClock });
    const server = createServer(webListener({ limits: { bodyBytes: 4_096, bodyTimeoutMs: 5_000 }, onFailure: (error) => { throw error; }, handler }));
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    return (server.address() as AddressInfo).port;
  });
}
