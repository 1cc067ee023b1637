/** A revoked certificate loses handshakes, requests, open streams, sessions and children at once; nobody else loses anything. */
import { Agent } from 'node:https';
import { afterEach, describe, expect, it } from 'vitest';
import { reasonNumber } from '../../src/revocation/serial-table.ts';
import { WORDS, wordsOfHex } from '../../src/revocation/serial-words.ts';
import { startTestGateway } from '../support/gateway.ts';
import type { TestGateway } from '../support/gateway.ts';
import { callMessage, eventually, openSession, rawRequest, textIn } from '../support/gateway-requests.ts';
import type { UpstreamKind } from '../support/gateway-upstreams.ts';
import { isRunning } from '../support/upstream-requests.ts';

let gateway: TestGateway;
afterEach(() => gateway.close());

const keptAlive = (): Agent => new Agent({ keepAlive: true, maxSockets: 1 });

describe.each<UpstreamKind>(['stdio', 'http', 'v1', 'v2'])('with a %s upstream', (kind) => {
  it('every place is shut for the revoked serial, and open for the others', async () => {
    gateway = await startTestGateway({ upstreams: [kind] });
    const [bad, good] = [gateway.agent('bad'), gateway.agent('good')];
    const alive = keptAlive();
    const [ofBad, ofGood] = [await openSession(gateway, bad, { agent: alive }), await openSession(gateway, good)];
    const calls = [
      await ofBad.stream({ agent: false as never, body: callMessage('long', 'slow', { steps: 200, milliseconds: 50 }, { progressToken: 1 }) }),
      await ofGood.stream({ body: callMessage('long', 'slow', { steps: 6, milliseconds: 30 }, { progressToken: 1 }) }),
    ] as const;
    const gets = kind === 'v2' ? undefined : ([await ofBad.stream({ agent: false as never }), await ofGood.stream()] as const);
    await Promise.all(calls.map((stream) => stream.message(({ method }) => method === 'notifications/progress')));
    const held = gateway.upstream.sessions().length;
    const pids = kind === 'stdio' ? gateway.upstream.sessions().map(Number) : [];
    expect(gateway.gateway.listener.connections.countOf('spiffe://test.internal/agent/bad')).toBeGreaterThanOrEqual(kind === 'v2' ? 2 : 3);

    gateway.revoke(bad);
    // In the same turn of the event loop.
    expect(gateway.gateway.listener.connections.countOf('spiffe://test.internal/agent/bad')).toBe(0);
    expect(await calls[0].closed).toBe('cut');
    if (gets !== undefined) expect(await gets[0].closed).toBe('cut');
    // The verdict on the new handshake, given before a byte of HTTP was read.
    for (const refused of [await ofBad.post(callMessage(2, 'echo', { text: 'x' })), await rawRequest(gateway, bad, { body: callMessage(2, 'echo', { text: 'x' }) })]) {
      expect([refused.status, refused.headers['connection'], refused.body]).toEqual([403, 'close', expect.stringContaining('ERR_PEER_REVOKED')]);
    }
    const [first, second] = pids;
    if (first !== undefined && second !== undefined) {
      await eventually(() => !isRunning(first));
      expect(isRunning(second)).toBe(true);
    } else if (kind !== 'v2') await eventually(() => gateway.upstream.sessions().length === held - 1);

    expect(textIn(await calls[1].message(({ id }) => id === 'long'))).toBe('6 steps');
    if (gets !== undefined) {
      expect(gets[1].over).toBe(false);
      gets[1].abandon();
    }
    expect(textIn((await ofGood.post(callMessage(3, 'echo', { text: 'still here' }))).answer)).toBe('still here');

    const [cut] = gateway.evidence.of('connection.cut');
    expect(cut).toMatchObject({ outcome: 'done', reason: 'ERR_PEER_REVOKED', agent: 'bad', serial: bad.certificate.serial, detail: { sessions: kind === 'v2' ? 0 : 1 } });
    expect(gateway.evidence.of('handshake.refused').filter(({ serial, reason }) => serial === bad.certificate.serial && reason === 'ERR_PEER_REVOKED').length).toBeGreaterThanOrEqual(2);
    expect(gateway.evidence.of('request.decided').find(({ name, serial, outcome }) => name === 'slow' && serial === bad.certificate.serial && outcome === 'failed')).toBeDefined();
  });
});

describe('a renewed certificate of the same principal', () => {
  it('keeps the session when the old one is revoked after the new one was used', async () => {
    gateway = await startTestGateway({ upstreams: ['stdio'] });
    const [old, renewed] = [gateway.agent('same'), gateway.agent('same')];
    const session = await openSession(gateway, old);
    const stream = await session.stream();
    const withNew = (id: string) => rawRequest(gateway, renewed, { headers: session.headers, body: callMessage(id, 'echo', { text: id }) });
    expect(textIn((await withNew('renewed')).answer)).toBe('renewed');
    gateway.revoke(old);
    expect(await stream.closed).toBe('cut');
    expect(textIn((await withNew('kept')).answer)).toBe('kept');
    expect(gateway.upstream.sessions()).toHaveLength(1);
  });

  it('loses the session when the revoked one used it last', async () => {
    gateway = await startTestGateway({ upstreams: ['stdio'] });
    const [old, renewed] = [gateway.agent('same'), gateway.agent('same')];
    const session = await openSession(gateway, old);
    gateway.revoke(old);
    const answer = await rawRequest(gateway, renewed, { headers: session.headers, body: callMessage(1, 'echo', { text: 'x' }) });
    expect([answer.status, answer.answer.error?.data]).toEqual([404, { code: 'ERR_MCP_SESSION_UNKNOWN' }]);
    await eventually(() => gateway.upstream.sessions().every((pid) => !isRunning(Number(pid))));
  });

  it('does not let another principal with the same name elsewhere into the session', async () => {
    gateway = await startTestGateway({ upstreams: ['v1'] });
    const session = await openSession(gateway, gateway.agent('same'));
    const stranger = gateway.agent('same', { names: { uris: ['spiffe://other.internal/agent/same'] } });
    expect((await rawRequest(gateway, stranger, { headers: session.headers, body: callMessage(1, 'echo', { text: 'x' }) })).status).toBe(404);
  });
});

describe('the end of a certificate', () => {
  it('ends its live connections and streams, and the session goes on with a renewed one', async () => {
    gateway = await startTestGateway({ upstreams: ['v1'] });
    const brief = gateway.agent('brief', { notAfter: new Date(Math.ceil(Date.now() / 1000) * 1000 + 1_000) });
    const session = await openSession(gateway, brief);
    const stream = await session.stream();
    expect(await stream.closed).toBe('cut');
    expect(gateway.evidence.of('connection.cut')).toMatchObject([{ reason: 'ERR_PEER_EXPIRED', agent: 'brief' }]);
    expect(await rawRequest(gateway, brief, { headers: session.headers, body: callMessage(1, 'echo', { text: 'x' }) })).toMatchObject({ status: 403, body: expect.stringContaining('ERR_PEER_EXPIRED') });
    const renewed = gateway.agent('brief');
    expect(textIn((await rawRequest(gateway, renewed, { headers: session.headers, body: callMessage(2, 'echo', { text: 'renewed' }) })).answer)).toBe('renewed');
  });

  it('is noticed at the next request on a connection that stayed open', async () => {
    gateway = await startTestGateway({ upstreams: ['v1'] });
    const alive = keptAlive();
    const agent = gateway.agent('late');
    const session = await openSession(gateway, agent, { agent: alive });
    gateway.clock.offsetMs = 2 * 86_400_000;
    await expect(session.post(callMessage(1, 'echo', { text: 'x' }))).rejects.toThrow();
    alive.destroy();
  });
});

describe('a revocation that arrives with a whole list', () => {
  it('ends the session of a certificate that is not connected', async () => {
    gateway = await startTestGateway({ upstreams: ['stdio'] });
    const agent = gateway.agent('away');
    await openSession(gateway, agent);
    await eventually(() => gateway.gateway.listener.connections.size === 0);
    const issuerId = gateway.pki.issuing.certificate.spkiHash;
    const words = new Uint32Array(WORDS);
    expect(wordsOfHex(agent.certificate.serial, words)).toBe(true);
    const table = gateway.index.newTable();
    table.add(words, 0, Math.floor(Date.now() / 1000), reasonNumber('keyCompromise'));
    gateway.index.replaceIssuer(issuerId, table, { freshUntil: Number.POSITIVE_INFINITY });
    expect(gateway.gateway.sessions.size).toBe(0);
    await eventually(() => gateway.upstream.sessions().every((pid) => !isRunning(Number(pid))));
  });
});
