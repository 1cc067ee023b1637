import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { X509Certificate, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeAccount } from '../../../ca/acme/external-accounts.ts';
import { parseCertificate } from '../../../ca/x509/certificate.ts';
import { createCsr, parseCsr } from '../../../ca/x509/csr.ts';
import { AcmeClient, base, startAcme, thumbprintOf } from '../../support/acme.ts';
import type { AcmeFixture, Answer } from '../../support/acme.ts';
import { newKey } from '../../support/authority.ts';

/** What hosts show at /.well-known/acme-challenge/. */
const shown = new Map<string, string>();
let web: Server;
let acme: AcmeFixture;

beforeAll(async () => {
  web = createServer((request, response) => {
    const found = shown.get(request.url?.split('/').at(-1) ?? '');
    response.writeHead(found === undefined ? 404 : 200).end(found);
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  acme = await startAcme({ network: { httpPort: (web.address() as AddressInfo).port }, authority: { profiles: { guarded: { kind: 'server', approval: 'required' }, 'agent-guarded': { kind: 'agent', approval: 'required' } } }, settings: { profiles: ['server', 'guarded'] } });
  for (const name of ['web', 'db', 'old', 'half', 'gone']) acme.hosts.set(`${name}.acme.internal`, ['127.0.0.1']);
});
afterAll(async () => {
  await acme.close();
  web.close();
});

const registered = async (payload: Readonly<Record<string, unknown>> = {}): Promise<AcmeClient> => {
  const client = acme.client();
  expect((await client.register(payload)).status).toBe(201);
  return client;
};

const agentClient = async (agent: string, request: Parameters<AcmeFixture['externalAccount']>[0] = {}): Promise<AcmeClient> => {
  const client = acme.client();
  expect((await client.register(client.binding(await acme.externalAccount({ agent, ...request })))).status).toBe(201);
  return client;
};

const httpChallenge = (authorization: Answer): { readonly url: string; readonly token: string } => authorization.body['challenges'].find(({ type }: { type: string }) => type === 'http-01');

const prove = async (client: AcmeClient, order: Answer): Promise<void> => {
  for (const url of order.body['authorizations'] as string[]) {
    const challenge = httpChallenge(await client.get(url));
    shown.set(challenge.token, `${challenge.token}.${thumbprintOf(client.key)}\n`);
    expect((await client.post(challenge.url.replace(base, ''), {})).body['status']).toBe('processing');
    expect((await client.settled(url)).body['status']).toBe('valid');
  }
};

const bought = async (client: AcmeClient, ...names: readonly string[]): Promise<{ readonly order: Answer; readonly certificate: X509Certificate }> => {
  const order = await client.order(...names);
  await prove(client, order);
  const done = await client.finalize(order, { dnsNames: names });
  expect(done.body).toMatchObject({ status: 'valid' });
  return { order: done, certificate: new X509Certificate((await client.get(done.body['certificate'])).text) };
};

const certificateId = (certificate: X509Certificate): string => {
  const { authorityKeyIdentifier = '', serial } = parseCertificate(new Uint8Array(certificate.raw));
  return [authorityKeyIdentifier, serial].map((hex) => Buffer.from(hex, 'hex').toString('base64url')).join('.');
};

describe('an order of a server', () => {
  it('goes from pending to valid, and the certificate has the names that were proved', async () => {
    const client = await registered({ contact: ['mailto:ops@acme.internal'] });
    const order = await client.order('WEB.acme.internal', 'db.acme.internal');
    expect(order).toMatchObject({ status: 201, body: { status: 'pending', profile: 'server', identifiers: [{ type: 'dns', value: 'web.acme.internal' }, { type: 'dns', value: 'db.acme.internal' }] } });
    expect(order.headers.get('location')).toMatch(/^https:\/\/acme\.test\/acme\/order\/[\w-]{22}$/);
    expect(await client.finalize(order, { dnsNames: ['web.acme.internal', 'db.acme.internal'] })).toMatchObject({ status: 403, problem: 'orderNotReady' });
    await prove(client, order);
    expect((await client.get(order.headers.get('location') ?? '')).body['status']).toBe('ready');
    const done = await client.finalize(order, { commonName: 'db.acme.internal', dnsNames: ['db.acme.internal', 'web.acme.internal'] });
    expect(done).toMatchObject({ status: 200, body: { status: 'valid' } });
    const answer = await client.get(done.body['certificate']);
    expect(answer.headers.get('content-type')).toBe('application/pem-certificate-chain');
    const [leaf, issuing] = answer.text.split(/(?=-----BEGIN)/).map((pem) => new X509Certificate(pem));
    expect(leaf?.subject).toBe('CN=db.acme.internal');
    expect(leaf?.subjectAltName).toBe('DNS:db.acme.internal, DNS:web.acme.internal');
    expect(leaf?.checkIssued(issuing ?? leaf)).toBe(true);
    expect((await client.finalize(done, { dnsNames: ['web.acme.internal'] })).problem).toBe('orderNotReady');
    const actions = (await acme.events()).map(({ action }) => action);
    expect(actions).toEqual(expect.arrayContaining(['acme.accountCreated', 'acme.orderCreated', 'acme.challengeValidated', 'certificate.issued', 'acme.orderFilled']));
    expect(await acme.auditIsWhole()).toBe(true);
  });

  it('is refused for names outside the configured ones, wildcards and addresses as names, all said at once', async () => {
    const client = await registered();
    expect(await client.order('web.example')).toMatchObject({ status: 400, problem: 'rejectedIdentifier', body: { identifier: { type: 'dns', value: 'web.example' } } });
    expect((await client.order('*.acme.internal')).problem).toBe('rejectedIdentifier');
    expect((await client.order('127.0.0.1')).body['detail']).toBe('"127.0.0.1" is an IP address; order it as type ip');
    expect((await client.order('agent-7.agents.acme.internal')).problem).toBe('rejectedIdentifier');
    expect((await client.order({ type: 'ip', value: '10.0.0.1' })).problem).toBe('rejectedIdentifier');
    expect((await client.order({ type: 'ip', value: '::ffff:127.0.0.1' })).problem).toBe('rejectedIdentifier');
    expect((await client.order({ type: 'email', value: 'a@b' })).problem).toBe('unsupportedIdentifier');
    expect((await client.order({ type: 'permanent-identifier', value: 'agent-7' })).problem).toBe('rejectedIdentifier');
    expect((await client.order()).problem).toBe('malformed');
    const several = await client.order('a.example', 'web.acme.internal', '*.acme.internal');
    expect(several.body['subproblems'].map((each: Answer['body']) => each['identifier'].value)).toEqual(['a.example', '*.acme.internal']);
    expect(await client.post('/acme/new-order', { identifiers: [{ type: 'dns', value: 'web.acme.internal' }], notAfter: '2030-01-01T00:00:00Z' })).toMatchObject({ problem: 'malformed' });
    expect(await client.post('/acme/new-order', { identifiers: [{ type: 'dns', value: 'web.acme.internal' }], profile: 'agent' })).toMatchObject({ problem: 'invalidProfile' });
  });

  it('becomes invalid with the reason when the host does not show the key authorization', async () => {
    const client = await registered();
    const order = await client.order('web.acme.internal');
    const url = order.body['authorizations'][0] as string;
    const challenge = httpChallenge(await client.get(url));
    shown.set(challenge.token, `${challenge.token}.${thumbprintOf(newKey())}`);
    await client.post(challenge.url.replace(base, ''), {});
    const settled = await client.settled(url);
    expect(settled.body).toMatchObject({ status: 'invalid', challenges: [{ type: 'http-01', status: 'invalid', error: { type: 'urn:ietf:params:acme:error:incorrectResponse' } }] });
    expect((await client.get(order.headers.get('location') ?? '')).body).toMatchObject({ status: 'invalid', error: { identifier: { type: 'dns', value: 'web.acme.internal' } } });
    expect((await client.finalize(order, { dnsNames: ['web.acme.internal'] })).problem).toBe('orderNotReady');
    expect((await acme.events()).at(-1)).toMatchObject({ action: 'acme.challengeFailed', reason: 'incorrectResponse' });
  });

  it('is certified for exactly its names, with a key that is not the account’s', async () => {
    const client = await registered();
    const order = await client.order('web.acme.internal', 'half.acme.internal');
    await prove(client, order);
    expect((await client.finalize(order, { dnsNames: ['web.acme.internal'] })).body['detail']).toBe('the request lacks what was ordered: half.acme.internal');
    expect((await client.finalize(order, { dnsNames: ['web.acme.internal', 'half.acme.internal', 'db.acme.internal'] })).body['detail']).toBe('the request asks for what was not ordered: "db.acme.internal"');
    expect((await client.finalize(order, { dnsNames: ['web.acme.internal', 'half.acme.internal'], emails: ['a@b.c'] })).problem).toBe('badCSR');
    expect((await client.finalize(order, { dnsNames: ['web.acme.internal', 'half.acme.internal'] }, client.key)).body['detail']).toBe('the key of the account must not be certified; make another one');
    expect((await client.post(order.body['finalize'].replace(base, ''), { csr: 'AAAA' })).problem).toBe('badCSR');
    // What could be done better was: the order is ready still.
    expect((await client.finalize(order, { dnsNames: ['web.acme.internal', 'half.acme.internal'] })).body['status']).toBe('valid');
  });

  it('expires after a day, and so does what was proved for it', async () => {
    const other = await startAcme();
    const client = other.client();
    await client.register();
    const order = await client.order('web.acme.internal');
    other.clock.turn(86_400 - 60);
    expect((await client.get(order.headers.get('location') ?? '')).body['status']).toBe('pending');
    other.clock.turn(61);
    expect((await client.get(order.headers.get('location') ?? '')).body['status']).toBe('invalid');
    expect((await client.get(order.body['authorizations'][0])).body['status']).toBe('invalid');
    expect(await client.post(httpChallenge(await client.get(order.body['authorizations'][0])).url.replace(base, ''), {})).toMatchObject({ problem: 'malformed' });
    await other.close();
  });

  it('belongs to its account, as do its authorizations and its certificate', async () => {
    const client = await registered();
    const { order } = await bought(client, 'web.acme.internal');
    const stranger = await registered();
    for (const url of [order.headers.get('location') ?? '', order.body['authorizations'][0], order.body['certificate']]) expect(await stranger.get(url)).toMatchObject({ status: 403, problem: 'unauthorized' });
    expect(await stranger.get(`${client.kid}/orders`)).toMatchObject({ status: 403 });
    expect((await client.get(`${client.kid}/orders`)).body['orders']).toEqual([order.headers.get('location')]);
    expect(await client.get(`${base}/acme/order/${'A'.repeat(22)}`)).toMatchObject({ status: 404, problem: 'malformed' });
    expect((await client.post(String(order.headers.get('location')).replace(base, ''), {})).problem).toBe('malformed');
  });

  it('ends with an authorization that is given back', async () => {
    const client = await registered();
    const order = await client.order('gone.acme.internal');
    expect((await client.post(order.body['authorizations'][0].replace(base, ''), { status: 'deactivated' })).body['status']).toBe('deactivated');
    expect((await client.get(order.headers.get('location') ?? '')).body['status']).toBe('invalid');
  });

  it('is validated by another node when the one that began has died', async () => {
    const client = await registered();
    const order = await client.order('web.acme.internal');
    const url = order.body['authorizations'][0] as string;
    const id = url.split('/').at(-1) ?? '';
    const challenge = httpChallenge(await client.get(url));
    shown.set(challenge.token, `${challenge.token}.${thumbprintOf(client.key)}`);
    // As a process leaves it that ends now.
    await acme.store.acme.beginValidation({ authorizationId: id, type: 'http-01' }, acme.clock.now(), new Date(0));
    expect((await client.get(url)).body['status']).toBe('pending');
    acme.clock.turn(61);
    expect((await client.settled(url)).body['status']).toBe('valid');
  });

  it('finds the certificate that a process made before it died, and none where there is none', async () => {
    const client = await registered();
    const left = async (issue: boolean): Promise<Answer> => {
      const order = await client.order('web.acme.internal');
      await prove(client, order);
      const location = order.headers.get('location') ?? '';
      const key = newKey();
      const csr = createCsr(key, { dnsNames: ['web.acme.internal'] });
      const { spkiHash } = parseCsr(csr);
      expect(await acme.store.acme.claimOrder(location.split('/').at(-1) ?? '', { csr: Buffer.from(csr).toString('base64url'), spkiHash, at: acme.clock.now() })).toBe(true);
      if (issue) await acme.authority.issueServer({ hosts: ['web.acme.internal'], csr, way: 'acme' });
      expect((await client.get(location)).body['status']).toBe('processing');
      acme.clock.turn(61);
      return client.get(location);
    };
    const found = await left(true);
    expect(found.body['status']).toBe('valid');
    expect((await client.get(found.body['certificate'])).text.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    expect((await left(false)).body).toMatchObject({ status: 'invalid', error: { type: 'urn:ietf:params:acme:error:serverInternal' } });
  });

  it('waits for a second person where the profile demands one, and for whatever he decides', async () => {
    const client = await registered();
    const begun = async (): Promise<Answer> => {
      const order = await client.post('/acme/new-order', { identifiers: [{ type: 'dns', value: 'web.acme.internal' }], profile: 'guarded' });
      await prove(client, order);
      const waiting = await client.finalize(order, { dnsNames: ['web.acme.internal'] });
      expect(waiting.body['status']).toBe('processing');
      expect(Number(waiting.headers.get('retry-after'))).toBeGreaterThan(0);
      return client.get(order.headers.get('location') ?? '');
    };
    const first = await begun();
    expect(first.body['status']).toBe('processing');
    const [request] = await acme.authority.pendingRequests();
    await acme.authority.approveRequest(request?.id ?? '', { actor: 'cli:bob' });
    const done = await client.get(first.headers.get('location') ?? '');
    expect(done.body['status']).toBe('valid');
    expect((await client.get(done.body['certificate'])).text).toContain('BEGIN CERTIFICATE');

    const second = await begun();
    const [another] = await acme.authority.pendingRequests();
    await acme.authority.denyRequest(another?.id ?? '', { actor: 'cli:bob', reason: 'no' });
    expect((await client.get(second.headers.get('location') ?? '')).body).toMatchObject({ status: 'invalid', error: { type: 'urn:ietf:params:acme:error:unauthorized' } });
  });
});

describe('an order of an agent', () => {
  it('needs no challenge, and of the request takes the key alone', async () => {
    const client = await agentClient('Agent-8', { organizationalUnits: ['analytics'], certificateTtl: '2h' });
    const order = await client.order('agent-8.agents.acme.internal');
    expect(order.body).toMatchObject({ status: 'ready', profile: 'agent' });
    expect((await client.get(order.body['authorizations'][0])).body).toMatchObject({ status: 'valid', challenges: [] });
    expect((await client.finalize(order, { commonName: 'agent-8.agents.acme.internal' })).body['status']).toBe('valid');
    const again = await client.order('agent-8', 'agent-8.agents.acme.internal');
    const done = await client.finalize(again, { commonName: 'agent-8', dnsNames: ['agent-8', 'agent-8.agents.acme.internal'] });
    const leaf = new X509Certificate((await client.get(done.body['certificate'])).text);
    expect(leaf.subject).toBe('OU=analytics\nCN=Agent-8');
    expect(leaf.subjectAltName).toBe('URI:spiffe://acme.internal/agent/Agent-8');
    expect(Math.round((leaf.validToDate.getTime() - acme.clock.now().getTime()) / 60_000)).toBe(120);
    const last = await client.order({ type: 'permanent-identifier', value: 'Agent-8' });
    expect((await client.finalize(last, {})).body['status']).toBe('valid');
  });

  it('is for the agent of the account and no other, and for no name it was not granted', async () => {
    const client = await agentClient('agent-9');
    for (const name of ['agent-8.agents.acme.internal', 'agent-8', 'web.acme.internal', '*.agents.acme.internal']) expect((await client.order(name)).problem).toBe('rejectedIdentifier');
    expect((await client.order({ type: 'permanent-identifier', value: 'Agent-9' })).problem).toBe('rejectedIdentifier');
    const order = await client.order('agent-9');
    expect((await client.finalize(order, { dnsNames: ['agent-9', 'web.acme.internal'] })).problem).toBe('badCSR');
    expect((await client.finalize(order, { dnsNames: ['agent-9'], uris: ['spiffe://acme.internal/agent/root'] })).body['detail']).toContain('URI "spiffe://acme.internal/agent/root"');
    expect((await client.finalize(order, { commonName: 'agent-9', dnsNames: ['agent-9'], uris: ['spiffe://acme.internal/agent/agent-9'] })).body['status']).toBe('valid');
  });

  it('renews without end: what was never used makes room, what is in use stays', async () => {
    const client = await agentClient('agent-often');
    const renewed = async (): Promise<string> => {
      const order = await client.order('agent-often');
      const done = await client.finalize(order, { dnsNames: ['agent-often'] });
      expect(done.body['status']).toBe('valid');
      return parseCertificate(new Uint8Array(new X509Certificate((await client.get(done.body['certificate'])).text).raw)).serial;
    };
    const first = await renewed();
    await acme.store.ca.markSeen({ issuerId: acme.authority.issuing.id, serial: first }, acme.clock.now());
    const others = [await renewed(), await renewed(), await renewed()];
    const live = (await acme.authority.certificates({ agent: 'agent-often', states: ['issued'] })).map(({ serial }) => serial);
    expect(live).toEqual([first, others.at(-1)]);
  });

  it('is vouched for within what the profile grants', async () => {
    await expect(acme.externalAccount({ agent: 'a', certificateTtl: '91d' })).rejects.toMatchObject({ code: 'ERR_CA_TTL' });
    await expect(acme.externalAccount({ agent: 'a', ttl: '31d' })).rejects.toMatchObject({ code: 'ERR_CA_TTL' });
    await expect(acme.externalAccount({ agent: 'a', profile: 'server' })).rejects.toMatchObject({ code: 'ERR_CA_PROFILE' });
    await expect(acme.externalAccount({ agent: 'a', profile: 'console-user' })).rejects.toMatchObject({ code: 'ERR_CA_PROFILE' });
    await expect(acme.externalAccount({ agent: 'a/b' })).rejects.toMatchObject({ code: 'ERR_CA_NAME' });
    await expect(acme.externalAccount({ agent: 'a', names: ['web.acme.internal'] })).rejects.toMatchObject({ code: 'ERR_CA_NAME' });
  });

  it('ends with the external account, and with the agent', async () => {
    const account = await acme.externalAccount({ agent: 'agent-gone' });
    const client = acme.client();
    await client.register(client.binding(account));
    const order = await client.order('agent-gone');
    await client.finalize(order, { dnsNames: ['agent-gone'] });
    const pending = await client.order('agent-gone');
    await acme.authority.revoke({ agent: 'agent-gone' }, { reason: 'keyCompromise' });
    expect(await client.order('agent-gone')).toMatchObject({ status: 403, problem: 'unauthorized' });
    expect(await client.finalize(pending, { dnsNames: ['agent-gone'] })).toMatchObject({ status: 403, problem: 'unauthorized' });
    // The word of an operator, given after that, lets it back in.
    acme.clock.turn(1);
    const anew = await acme.externalAccount({ agent: 'agent-gone' });
    const next = acme.client();
    await next.register(next.binding(anew));
    expect((await next.finalize(await next.order('agent-gone'), { dnsNames: ['agent-gone'] })).body['status']).toBe('valid');
    await removeAccount({ store: acme.store.acme, clock: acme.clock }, anew.kid, 'cli:ada');
    expect(await next.order('agent-gone')).toMatchObject({ status: 401, problem: 'unauthorized' });
    await expect(removeAccount({ store: acme.store.acme, clock: acme.clock }, anew.kid, 'cli:ada')).rejects.toMatchObject({ code: 'ERR_ACME_ACCOUNT_UNKNOWN' });
  });

  it('waits for a second person too, who is not the one that made the external account', async () => {
    const client = await agentClient('agent-watched', { profile: 'agent-guarded' });
    const order = await client.order('agent-watched.agents.acme.internal');
    expect((await client.finalize(order, { commonName: 'agent-watched.agents.acme.internal', dnsNames: ['agent-watched.agents.acme.internal'] })).body['status']).toBe('processing');
    const [request] = await acme.authority.pendingRequests();
    await expect(acme.authority.approveRequest(request?.id ?? '', { actor: 'cli:ada' })).rejects.toMatchObject({ code: 'ERR_REQUEST_FOUR_EYES' });
    await acme.authority.approveRequest(request?.id ?? '', { actor: 'cli:bob' });
    const done = await client.get(order.headers.get('location') ?? '');
    expect(new X509Certificate((await client.get(done.body['certificate'])).text).subjectAltName).toBe('URI:spiffe://acme.internal/agent/agent-watched');
  });
});

describe('revoking', () => {
  it('is for the account that ordered, for one that proved all names, and for the holder of the key', async () => {
    const owner = await registered();
    const { certificate } = await bought(owner, 'old.acme.internal');
    const payload = { certificate: certificate.raw.toString('base64url'), reason: 4 };
    const stranger = await registered();
    expect(await stranger.post('/acme/revoke-cert', payload)).toMatchObject({ status: 403, problem: 'unauthorized' });
    expect((await owner.post('/acme/revoke-cert', { ...payload, reason: 6 })).problem).toBe('badRevocationReason');
    expect((await owner.post('/acme/revoke-cert', { certificate: 'AAAA' })).problem).toBe('malformed');
    const namesake = await agentClient('old.acme.internal');
    expect((await namesake.post('/acme/revoke-cert', payload)).problem).toBe('unauthorized');
    expect((await namesake.order('old.acme.internal')).body['status']).toBe('ready');
    expect((await namesake.post('/acme/revoke-cert', payload)).problem).toBe('unauthorized');
    const order = await stranger.order('old.acme.internal');
    await prove(stranger, order);
    expect((await stranger.post('/acme/revoke-cert', payload)).status).toBe(200);
    expect(await owner.post('/acme/revoke-cert', payload)).toMatchObject({ status: 400, problem: 'alreadyRevoked' });

    const key = newKey();
    const done = await stranger.finalize(order, { dnsNames: ['old.acme.internal'] }, key);
    const another = { certificate: new X509Certificate((await stranger.get(done.body['certificate'])).text).raw.toString('base64url') };
    expect(await new AcmeClient(acme, newKey()).post('/acme/revoke-cert', another)).toMatchObject({ status: 403, problem: 'unauthorized' });
    expect((await new AcmeClient(acme, key).post('/acme/revoke-cert', { ...another, reason: 1 })).status).toBe(200);
    expect((await acme.authority.certificates({ agent: 'old.acme.internal' })).map(({ revocationReason }) => revocationReason)).toEqual(['superseded', 'keyCompromise']);
  });
});

describe('renewal information', () => {
  const windowOf = async (name: string): Promise<{ start: number; end: number; answer: Answer }> => {
    const answer = await acme.request('GET', `/acme/renewal-info/${name}`);
    const { start, end } = answer.body['suggestedWindow'];
    return { start: Date.parse(start), end: Date.parse(end), answer };
  };

  it('suggests two thirds of the lifetime, and now once the certificate is revoked', async () => {
    const client = await registered();
    const { certificate } = await bought(client, 'web.acme.internal');
    const name = certificateId(certificate);
    const [from, to] = [certificate.validFromDate.getTime(), certificate.validToDate.getTime() + 1_000];
    const { start, end, answer } = await windowOf(name);
    expect((start + end) / 2).toBeCloseTo(from + ((to - from) * 2) / 3, -3);
    expect(end - start).toBeCloseTo((to - from) / 20, -3);
    expect(answer.headers.get('retry-after')).toBe('21600');
    await client.post('/acme/revoke-cert', { certificate: certificate.raw.toString('base64url') });
    expect((await windowOf(name)).end).toBeLessThan(acme.clock.now().getTime());
    expect(await acme.request('GET', '/acme/renewal-info/AAAA.AAAA')).toMatchObject({ status: 404 });
    expect(await acme.request('GET', '/acme/renewal-info/AAAA')).toMatchObject({ status: 400, problem: 'malformed' });
  });

  it('is followed by an order that says what it replaces: its own, with a name in common, once', async () => {
    const client = await registered();
    const { certificate } = await bought(client, 'web.acme.internal');
    const replaces = certificateId(certificate);
    const order = (who: AcmeClient, name: string): Promise<Answer> => who.post('/acme/new-order', { identifiers: [{ type: 'dns', value: name }], replaces });
    expect((await order(await registered(), 'web.acme.internal')).problem).toBe('unauthorized');
    expect((await order(client, 'db.acme.internal')).problem).toBe('malformed');
    const first = await order(client, 'web.acme.internal');
    expect(first).toMatchObject({ status: 201, body: { replaces } });
    expect(await order(client, 'web.acme.internal')).toMatchObject({ status: 409, problem: 'alreadyReplaced' });
    await client.post(first.body['authorizations'][0].replace(base, ''), { status: 'deactivated' });
    expect((await order(client, 'web.acme.internal')).status).toBe(201);
  });
});

it('certifies servers by keys of other kinds, for accounts with keys of other kinds', async () => {
  const client = acme.client(generateKeyPairSync('ed25519').privateKey);
  await client.register();
  const order = await client.order('web.acme.internal');
  await prove(client, order);
  expect((await client.finalize(order, { dnsNames: ['web.acme.internal'] }, generateKeyPairSync('ed25519').privateKey)).body['status']).toBe('valid');
});
