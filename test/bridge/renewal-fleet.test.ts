/** Some agents over many lifetimes of their certificates, on a real authority with a clock that is turned; `npm run bench -- renewal` does it in real time. */
import { createServer } from 'node:https';
import type { Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createRenewHandler } from '../../ca/index.ts';
import { beginIdentity } from '../../src/bridge/identity-directory.ts';
import { createIdentityFetch } from '../../src/bridge/identity-fetch.ts';
import type { IdentityFetch } from '../../src/bridge/identity-fetch.ts';
import { Renewal } from '../../src/bridge/renewal.ts';
import { createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const agents = ['one', 'two', 'three'];
const hours = 4;
const stepMinutes = 10;

let fixture: AuthorityFixture;
let server: Server;
/** Every so many renewals the answer does not arrive. */
let renewals = 0;
const lostEvery = 4;

beforeAll(async () => {
  fixture = await createAuthority();
  const { authority, store, clock } = fixture;
  const own = await authority.issueServer({ hosts: ['localhost'] });
  const key = own.privateKey?.export({ type: 'pkcs8', format: 'pem' }).toString() ?? '';
  server = createServer({ key, cert: own.chain, ca: authority.chain, requestCert: true, rejectUnauthorized: false }, async (request, response) => {
    const socket = request.socket as TLSSocket;
    const certificate = socket.getPeerX509Certificate();
    const peer = { issuerId: authority.issuing.id, serial: certificate?.serialNumber.toLowerCase() ?? '' };
    const [record] = await authority.certificates(peer);
    const problem = record?.state !== 'issued' ? 'ERR_PEER_REVOKED' : clock.now() > record.notAfter ? 'ERR_PEER_EXPIRED' : undefined;
    if (problem !== undefined) return void response.writeHead(403, { 'content-type': 'application/json' }).end(JSON.stringify({ error: { code: problem, message: 'refused' } }));
    const renew = request.url === '/renew';
    if (!renew) {
      await store.ca.markSeen(peer, clock.now());
      return void response.writeHead(200).end('good');
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const handler = createRenewHandler({ authority, gateway: 'https://localhost/mcp', renewal: 'https://localhost/renew', present: () => ({ status: 500, code: 'ERR_INTERNAL', message: 'internal' }) });
    const answer = await handler(new Request('https://localhost/renew', { method: 'POST', headers: { 'content-type': 'application/json' }, body: Buffer.concat(chunks) }), peer);
    renewals += 1;
    if (renewals % lostEvery === 0) return void socket.destroy();
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  });
  await new Promise<void>((listening) => {
    server.listen(0, 'localhost', listening);
  });
});
afterAll(async () => {
  server.closeAllConnections();
  server.close();
  await fixture.close();
});

it('agents call all the time while their certificates of an hour are renewed, answers get lost, and nothing is left over', async () => {
  const { authority, clock, directory } = fixture;
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const notices: string[] = [];
  const holders: { readonly fetch: IdentityFetch; readonly renewal: Renewal }[] = [];
  for (const [index, agent] of agents.entries()) {
    const issued = await authority.issue({ agent, ttl: '1h' });
    const home = join(directory, `agent-${agent}`);
    if (issued.privateKey === undefined) throw new Error('no key');
    await (await beginIdentity(home, issued.privateKey, undefined)).commit({ name: agent, certificatePem: issued.chain, caPem: issued.ca, gateway: `${url}/mcp`, renewal: `${url}/renew` });
    holders.push({
      fetch: createIdentityFetch({ identity: home, clock, pollMs: 20 }),
      renewal: new Renewal({ directory: home, clock, notice: ({ message }) => notices.push(message), jitter: index / agents.length, timeoutMs: 5_000 }),
    });
  }
  let calls = 0;
  let mostLive = 0;
  for (let step = 0; step < (hours * 60) / stepMinutes; step += 1) {
    for (const { fetch, renewal } of holders) {
      await renewal.look();
      const answer = await fetch(`${url}/mcp`);
      expect([step, answer.status, await answer.text()]).toEqual([step, 200, 'good']);
      calls += 1;
    }
    await authority.retireReplaced();
    for (const agent of agents) mostLive = Math.max(mostLive, await liveOf(agent));
    clock.turn(stepMinutes * 60);
  }
  for (const { fetch, renewal } of holders) {
    await renewal.close();
    fetch.close();
  }
  expect([calls, mostLive]).toEqual([agents.length * ((hours * 60) / stepMinutes), 2]);
  expect(renewals).toBeGreaterThanOrEqual(agents.length * 4);
  expect(notices.length).toBeGreaterThan(0);
  for (const notice of notices) expect(notice).toContain('it closed the connection without an answer');
  clock.turn(3_600);
  await authority.retireReplaced();
  for (const agent of agents) expect(await liveOf(agent)).toBe(0);
  expect(await fixture.store.ca.successions(clock.now(), 10)).toEqual([]);
  expect(await fixture.auditIsWhole()).toBe(true);
});

const liveOf = async (agent: string): Promise<number> => (await fixture.authority.certificates({ agent, states: ['issued', 'intent', 'unknownIssued'], validAt: fixture.clock.now() })).length;
