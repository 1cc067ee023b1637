import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodePem } from '../../ca/x509/pem.ts';
import { compileAdmins } from '../../src/admin/roles.ts';
import { createApiHandler } from '../../src/api/handler.ts';
import { describeApi } from '../../src/api/openapi.ts';
import type { ApiWorld } from '../../src/api/operation.ts';
import { operations } from '../../src/api/operations.ts';
import { AuditLog } from '../../src/audit/log.ts';
import { parseConfig } from '../../src/config/load.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { ownTrust } from '../../src/identity/principal.ts';
import type { Principal } from '../../src/identity/principal.ts';
import type { VerifiedPeer } from '../../src/tls/verified-peer.ts';
import { createAuthority, newCsr } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const config = `
admins:
  - { role: admin, when: { organizationalUnit: pki-admins } }
  - { role: issuer, when: { organizationalUnit: issuers }, organizationalUnits: [analytics] }
  - { role: revoker, when: { organizationalUnit: revokers } }
  - { role: revoker, when: { organizationalUnit: analytics-leads }, organizationalUnits: [analytics] }
  - { role: approver, when: { organizationalUnit: approvers } }
  - { role: approver, when: { organizationalUnit: analytics-approvers }, organizationalUnits: [analytics] }
  - { role: reader, when: { organizationalUnit: readers } }
`;

let fixture: AuthorityFixture;
let audit: AuditLog;
let world: ApiWorld;
let handle: ReturnType<typeof createApiHandler>;
beforeAll(async () => {
  fixture = await createAuthority({ profiles: { vetted: { kind: 'agent', approval: 'required' } } });
  audit = new AuditLog(fixture.store.audit, { maxDelayMs: 1 });
  world = { authority: fixture.authority, store: fixture.store, audit, admins: compileAdmins(parseConfig(config, { directory: '/' }).admins), isKnown: async ({ serial }) => serial !== 'ee', clock: fixture.clock, places: () => ({ gateway: 'https://localhost:8443/mcp', enrollment: 'https://localhost:8444' }), policy: () => parsePolicy('roles: {}\nbindings: []\n'), keyAlgorithm: 'p256', verifierKey: 'key', version: '0.0.0' };
  handle = createApiHandler(world);
});
afterAll(async () => {
  await audit.close();
  await fixture.close();
});

const peerOf = (name: string, unit: string, facts: Partial<Principal> = {}): VerifiedPeer =>
  ({
    principal: {
      id: `spiffe://acme.internal/agent/${name}`, subject: `CN=${name},OU=${unit}`, commonName: name, organizations: [], organizationalUnits: [unit], uris: [`spiffe://acme.internal/agent/${name}`], dnsNames: [], emails: [], trust: ownTrust,
      issuerId: fixture.authority.issuing.id, serial: '1f', thumbprint: 'b2'.repeat(32), notBefore: new Date(0), notAfter: new Date(0), ...facts,
    },
    certificate: new Uint8Array(), expiresAt: 0, remoteAddress: '127.0.0.1', resumed: false,
  }) as unknown as VerifiedPeer;

interface Called {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Record<string, unknown> & { readonly items?: readonly Record<string, unknown>[]; readonly code?: string };
}

const call = async (who: string, method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Called> => {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const request = new Request(`http://listener/api/v1${path}`, { method, headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers }, ...(body === undefined ? {} : { body: text }) });
  const response = await handle(request, { peer: peerOf(`${who}-1`, who), address: '127.0.0.1' });
  return { status: response.status, headers: response.headers, body: (await response.json()) as Called['body'] };
};

const csr = () => encodePem('CERTIFICATE REQUEST', newCsr());
const lastEvents = async () => {
  await audit.flush();
  return fixture.events();
};

describe('issuing', () => {
  it('certifies the key of a request, in the name of the principal', async () => {
    const { status, body } = await call('issuers', 'POST', '/certificates', { agent: 'agent-1', organizationalUnits: ['analytics'], csr: csr(), ttl: '1h' });
    expect(status).toBe(201);
    expect(body).toMatchObject({ certificate: { agent: 'agent-1', status: 'live', organizationalUnits: ['analytics'] }, pem: expect.stringMatching(/^-----BEGIN CERTIFICATE/) as string });
    const events = await lastEvents();
    expect(events.at(-2)).toMatchObject({ action: 'api.decided', outcome: 'allowed', actor: 'spiffe://acme.internal/agent/issuers-1', agent: 'agent-1' });
    expect(events.at(-1)).toMatchObject({ action: 'certificate.issued', actor: 'spiffe://acme.internal/agent/issuers-1', agent: 'agent-1' });
  });

  it('answers the same request under one key with the same certificate, and another with a refusal', async () => {
    const body = { agent: 'agent-2', organizationalUnits: ['analytics'], csr: csr() };
    const [first, second] = [await call('issuers', 'POST', '/certificates', body, { 'idempotency-key': 'k1' }), await call('issuers', 'POST', '/certificates', body, { 'idempotency-key': 'k1' })];
    expect(second.body).toEqual(first.body);
    expect([first.headers.get('idempotent-replayed'), second.headers.get('idempotent-replayed')]).toEqual([null, 'true']);
    expect(await call('issuers', 'POST', '/certificates', { ...body, csr: csr() }, { 'idempotency-key': 'k1' })).toMatchObject({ status: 409, body: { code: 'ERR_API_REPEATED' } });
    expect(await fixture.authority.certificates({ agent: 'agent-2' })).toHaveLength(1);
    // Another principal's key is another key.
    expect((await call('pki-admins', 'POST', '/certificates', { ...body, csr: csr() }, { 'idempotency-key': 'k1' })).status).toBe(201);
  });

  it('finds what a crash kept from being noted, and lets a refused request be asked again', async () => {
    const body = { agent: 'agent-3', organizationalUnits: ['analytics'], csr: csr() };
    const failing: ApiWorld = { ...world, store: { ...fixture.store, answered: { ...fixture.store.answered, complete: async () => Promise.reject(new Error('killed')) } } };
    const broken = createApiHandler(failing);
    const request = () => new Request('http://listener/api/v1/certificates', { method: 'POST', headers: { 'content-type': 'application/json', 'idempotency-key': 'k2' }, body: JSON.stringify(body) });
    expect((await broken(request(), { peer: peerOf('issuers-1', 'issuers'), address: undefined })).status).toBe(500);
    const again = await call('issuers', 'POST', '/certificates', body, { 'idempotency-key': 'k2' });
    expect(again).toMatchObject({ status: 201, body: { certificate: { agent: 'agent-3' } } });
    expect(await fixture.authority.certificates({ agent: 'agent-3' })).toHaveLength(1);

    const refused = { agent: 'agent-4', organizationalUnits: ['analytics'], csr: csr(), ttl: '400d' };
    expect(await call('issuers', 'POST', '/certificates', refused, { 'idempotency-key': 'k3' })).toMatchObject({ status: 400, body: { code: 'ERR_CA_TTL' } });
    expect((await call('issuers', 'POST', '/certificates', { ...refused, ttl: '1d' }, { 'idempotency-key': 'k3' })).status).toBe(201);
  });

  it.each([
    ['a unit outside the scope', { agent: 'agent-5', organizationalUnits: ['platform'] }, 'outsideScope'],
    ['no unit', { agent: 'agent-5' }, 'outsideScope'],
  ])('is refused for %s', async (_what, body, reason) => {
    expect(await call('issuers', 'POST', '/certificates', { ...body, csr: csr() })).toMatchObject({ status: 403, body: { code: 'ERR_API_DENIED' } });
    expect((await lastEvents()).at(-1)).toMatchObject({ action: 'api.decided', outcome: 'denied', reason });
    expect(await fixture.authority.certificates({ agent: 'agent-5' })).toEqual([]);
  });

  it('makes an admin only for an admin', async () => {
    const wide = createApiHandler({ ...world, admins: compileAdmins(parseConfig(config.replace(', organizationalUnits: [analytics] }\n  - { role: revoker', ' }\n  - { role: revoker'), { directory: '/' }).admins) });
    const ask = (who: string) => wide(new Request('http://listener/api/v1/certificates', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ agent: `new-${who}`, organizationalUnits: ['readers'], csr: csr() }) }), { peer: peerOf('x', who), address: undefined });
    expect((await ask('issuers')).status).toBe(403);
    expect((await lastEvents()).at(-1)).toMatchObject({ reason: 'makesAdmin' });
    expect((await ask('pki-admins')).status).toBe(201);
  });
});

describe('reading', () => {
  it('pages through the inventory without missing or repeating any', async () => {
    const seen: unknown[] = [];
    let cursor = '';
    do {
      const { body } = await call('readers', 'GET', `/certificates?limit=3${cursor}`);
      seen.push(...(body.items ?? []).map(({ serial }) => serial));
      cursor = typeof body['next'] === 'string' ? `&cursor=${body['next']}` : '';
    } while (cursor !== '');
    expect(seen).toEqual((await fixture.authority.certificates()).map(({ serial }) => serial));
  });

  it('filters, and shows one with its chain', async () => {
    const { body } = await call('readers', 'GET', '/certificates?agent=agent-1&status=live&organizationalUnit=analytics&issuer=issuing');
    const [only] = body.items ?? [];
    expect(body.items).toHaveLength(1);
    expect((await call('readers', 'GET', `/certificates/${String(only?.['serial'])}`)).body).toMatchObject({ certificate: only, chain: expect.stringMatching(/BEGIN[^]*BEGIN/) as string });
    expect((await call('readers', 'GET', '/certificates?status=expired')).body.items).toEqual([]);
    expect(await call('readers', 'GET', '/certificates/abcdef')).toMatchObject({ status: 404, body: { code: 'ERR_CA_CERTIFICATE_UNKNOWN' } });
  });

  it.each([
    ['/certificates?colour=red', 'request: Unrecognized key: "colour"'],
    ['/certificates?limit=501', 'limit: '],
    ['/certificates?cursor=nonsense', 'cursor: take it from `next` of the page before'],
    ['/certificates?agent=a&agent=b', 'agent is given twice'],
    ['/certificates/XYZ', 'serial: '],
    ['/certificates?issuer=issuing-9', 'there is no CA named issuing-9'],
  ])('refuses %s and says why', async (path, detail) => {
    expect(await call('readers', 'GET', path)).toMatchObject({ status: 400, body: { code: 'ERR_API_REQUEST', detail: expect.stringContaining(detail) as string } });
  });

  it('tells the hierarchy, profiles, CRLs, health, the caller, and the audit log with its checkpoint', async () => {
    expect((await call('readers', 'GET', '/hierarchy')).body).toMatchObject({ root: 'root', issuing: 'issuing', authorities: [{ name: 'root' }, { name: 'issuing', keyHere: true }] });
    expect((await call('readers', 'GET', '/profiles')).body.items?.map(({ name }) => name)).toEqual(expect.arrayContaining(['agent', 'server', 'vetted']));
    expect((await call('readers', 'GET', '/crls')).body.items?.map(({ ca }) => ca)).toEqual(['root', 'issuing']);
    expect((await call('approvers', 'GET', '/health')).body).toMatchObject({ status: 'ok', auditLog: 'ok' });
    expect((await call('readers', 'GET', '/caller')).body).toMatchObject({ id: 'spiffe://acme.internal/agent/readers-1', roles: ['reader'] });
    const { body } = await call('readers', 'GET', '/audit/entries?action=certificate.issued&limit=2');
    expect(body.items?.map(({ action }) => action)).toEqual(['certificate.issued', 'certificate.issued']);
    expect((await call('readers', 'GET', `/audit/entries?from=${String(body['size'])}`)).body).toMatchObject({ items: expect.any(Array) as unknown[] });
    expect((await call('readers', 'GET', '/audit/checkpoint')).body).toMatchObject({ checkpoint: expect.stringContaining('acme/audit') as string, verifierKey: 'key' });
  });
});

describe('revoking', () => {
  it('revokes one at once, and many only when that is confirmed', async () => {
    expect((await call('revokers', 'POST', '/revocations', { agent: 'agent-1', reason: 'keyCompromise' })).body).toMatchObject({ dryRun: false, count: 1, certificates: [{ agent: 'agent-1', status: 'revoked' }] });
    expect(await call('revokers', 'POST', '/revocations', { agent: 'agent-1' })).toMatchObject({ status: 409, body: { code: 'ERR_CA_ALREADY_REVOKED' } });
    const shown = await call('revokers', 'POST', '/revocations', { organizationalUnit: 'analytics' });
    expect(shown.body).toMatchObject({ dryRun: true, gateways: [] });
    expect(Number(shown.body['count'])).toBeGreaterThan(2);
    expect((await call('readers', 'GET', '/certificates?status=revoked')).body.items).toHaveLength(1);
    expect((await call('revokers', 'POST', '/revocations', { agent: 'agent-2', dryRun: true })).body).toMatchObject({ dryRun: true });
  });

  it('stays within the scope, and away from the certificates of the CA', async () => {
    await fixture.authority.issue({ agent: 'of-platform', organizationalUnits: ['platform'], actor: 'test' });
    expect(await call('analytics-leads', 'POST', '/revocations', { agent: 'of-platform' })).toMatchObject({ status: 403, body: { code: 'ERR_API_DENIED' } });
    expect((await call('analytics-leads', 'POST', '/revocations', { agent: 'agent-3' })).body).toMatchObject({ dryRun: false, count: 1 });
    // Nor does anybody come by the name of an agent of others.
    for (const [path, body] of [['/certificates', { csr: csr(), allowRevoked: true }], ['/tokens', {}]] as const) {
      expect(await call('issuers', 'POST', path, { agent: 'of-platform', organizationalUnits: ['analytics'], ...body })).toMatchObject({ status: 403, body: { code: 'ERR_API_DENIED' } });
      expect((await lastEvents()).at(-1)).toMatchObject({ reason: 'outsideScope' });
    }
    const [ca] = await fixture.authority.certificates({ profile: 'issuing' });
    expect((await call('revokers', 'POST', '/revocations', { serial: ca?.serial ?? '' })).status).toBe(403);
  });

  it('holds and releases, and publishes a CRL', async () => {
    expect((await call('revokers', 'POST', '/revocations', { agent: 'of-platform', reason: 'certificateHold' })).body).toMatchObject({ count: 1 });
    expect((await call('readers', 'GET', '/certificates?status=held')).body.items).toHaveLength(1);
    expect((await call('analytics-leads', 'POST', '/releases', { agent: 'of-platform' })).status).toBe(403);
    expect((await call('revokers', 'POST', '/releases', { agent: 'of-platform' })).body).toMatchObject({ certificates: [{ status: 'live' }] });
    expect((await call('revokers', 'POST', '/crls/root')).body).toMatchObject({ ca: 'root', crlNumber: '2' });
  });
});

it('publishes and tells of the CRLs of a partitioned CA as of one', async () => {
  const parted = await createAuthority({ crlPartitions: 2, publicUrl: 'http://crl.acme.internal' });
  try {
    const handleIt = createApiHandler({ ...world, authority: parted.authority, store: parted.store });
    const ask = async (method: string, path: string): Promise<unknown> => (await handleIt(new Request(`http://listener/api/v1${path}`, { method }), { peer: peerOf('admin-1', 'pki-admins'), address: undefined })).json();
    const published = await ask('POST', '/crls/issuing');
    expect(published).toMatchObject({ ca: 'issuing', entries: 0, partitions: 2 });
    expect(await ask('POST', '/crls/root')).toMatchObject({ ca: 'root', partitions: 1 });
    expect(await ask('GET', '/crls')).toMatchObject({ items: expect.arrayContaining([published]) as unknown[] });
    expect(await ask('GET', '/health')).toMatchObject({ status: 'ok', crls: [{ state: 'fresh' }, { state: 'fresh' }] });
  } finally {
    await parted.close();
  }
});

it('makes, lists and takes back tokens, and never tells a secret twice', async () => {
  const made = await call('issuers', 'POST', '/tokens', { agent: 'agent-9', organizationalUnits: ['analytics'] });
  expect(made).toMatchObject({ status: 201, body: { token: expect.stringMatching(/^sallyport1\./) as string } });
  const { body } = await call('readers', 'GET', '/tokens');
  expect(JSON.stringify(body)).not.toContain('sallyport1');
  const id = String(body.items?.[0]?.['id']);
  expect((await call('readers', 'DELETE', `/tokens/${id}`)).status).toBe(403);
  expect((await call('issuers', 'DELETE', `/tokens/${id}`)).body).toEqual({ id, agent: 'agent-9' });
  expect(await call('issuers', 'DELETE', `/tokens/${id}`)).toMatchObject({ status: 404, body: { code: 'ERR_TOKEN_UNKNOWN' } });
});

it('takes what needs approval to a second person', async () => {
  const body = { agent: 'vetted-1', profile: 'vetted', csr: csr(), organizationalUnits: ['analytics'] };
  const asked = await call('issuers', 'POST', '/certificates', body);
  expect(asked).toMatchObject({ status: 202, body: { code: 'ERR_REQUEST_PENDING', request: expect.any(String) as string } });
  expect(asked.headers.get('retry-after')).toMatch(/^\d+$/);
  const id = String(asked.body['request']);
  expect((await call('approvers', 'GET', '/requests')).body.items).toMatchObject([{ id, state: 'pending', requestedBy: 'spiffe://acme.internal/agent/issuers-1' }]);
  // An admin may approve, but not what the same person asked for.
  const own = handle(new Request(`http://listener/api/v1/requests/${id}/approval`, { method: 'POST' }), { peer: peerOf('issuers-1', 'approvers'), address: undefined });
  expect(await (await own).json()).toMatchObject({ status: 403, code: 'ERR_REQUEST_FOUR_EYES' });
  expect((await call('issuers', 'POST', `/requests/${id}/approval`)).status).toBe(403);
  expect((await call('approvers', 'POST', `/requests/${id}/approval`)).body).toMatchObject({ request: { state: 'issued', decidedBy: 'spiffe://acme.internal/agent/approvers-1' }, issued: { certificate: { agent: 'vetted-1' } } });
  expect(await call('issuers', 'POST', '/certificates', body)).toMatchObject({ status: 201, body: { certificate: { agent: 'vetted-1' } } });

  const second = await call('issuers', 'POST', '/certificates', { ...body, agent: 'vetted-2', csr: csr() });
  expect((await call('approvers', 'POST', `/requests/${String(second.body['request'])}/denial`, { reason: 'no' })).body).toMatchObject({ state: 'denied', reason: 'no' });
});

it('has each decision about one token or request be about whose it is', async () => {
  const theirs = await fixture.authority.createToken({ agent: 'theirs', organizationalUnits: ['platform'], actor: 'test' });
  const { body } = await call('readers', 'GET', '/tokens');
  const { id } = body.items?.find(({ agent }) => agent === theirs.agent) ?? {};
  expect(await call('issuers', 'DELETE', `/tokens/${String(id)}`)).toMatchObject({ status: 403, body: { code: 'ERR_API_DENIED' } });
  const asked = async (agent: string, unit: string) => String((await call('pki-admins', 'POST', '/certificates', { agent, profile: 'vetted', csr: csr(), organizationalUnits: [unit] })).body['request']);
  const [outside, admin] = [await asked('vetted-3', 'platform'), await asked('vetted-4', 'pki-admins')];
  for (const what of ['approval', 'denial']) {
    expect(await call('analytics-approvers', 'POST', `/requests/${outside}/${what}`, { reason: 'no' })).toMatchObject({ status: 403, body: { code: 'ERR_API_DENIED' } });
    expect((await lastEvents()).at(-1)).toMatchObject({ reason: 'outsideScope' });
  }
  expect((await call('approvers', 'POST', `/requests/${admin}/approval`)).status).toBe(403);
  expect((await lastEvents()).at(-1)).toMatchObject({ reason: 'makesAdmin' });
});

it('keeps to the scope when there is one more by the time it acts', async () => {
  const { authority } = fixture;
  const late = async () => void (await authority.issue({ agent: 'racing', organizationalUnits: ['platform'], actor: 'test' }));
  // Between the look and the act.
  const racing = (after: string, meanwhile: () => Promise<void>) =>
    createApiHandler({ ...world, authority: new Proxy(authority, { get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return name !== after ? value.bind(target) as unknown : async (...given: readonly unknown[]) => {
        const found: unknown = await Reflect.apply(value, target, given);
        await meanwhile();
        return found;
      };
    } }) });
  const send = async (handler: typeof handle, path: string, reason?: string) =>
    (await handler(new Request(`http://listener/api/v1${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ agent: 'racing', reason }) }), { peer: peerOf('lead', 'analytics-leads'), address: undefined })).json();
  await authority.issue({ agent: 'racing', organizationalUnits: ['analytics'], actor: 'test' });
  expect(await send(racing('previewRevocation', late), '/revocations', 'certificateHold')).toMatchObject({ count: 1, certificates: [{ organizationalUnits: ['analytics'] }] });
  const hold = async () => void (await authority.revoke({ agent: 'racing' }, { reason: 'certificateHold', actor: 'test' }));
  expect(await send(racing('certificates', hold), '/releases')).toMatchObject({ certificates: [{ organizationalUnits: ['analytics'] }] });
  expect((await authority.certificates({ agent: 'racing', revocationReasons: ['certificateHold'] })).map(({ organizationalUnits }) => organizationalUnits)).toEqual([['platform']]);
});

it('rotates the issuing CA, for an admin alone', async () => {
  expect((await call('revokers', 'POST', '/hierarchy/authorities', { role: 'issuing' })).status).toBe(403);
  expect(await call('pki-admins', 'POST', '/hierarchy/authorities', { role: 'issuing' })).toMatchObject({ status: 201, body: { authorities: [{ name: 'issuing-2', status: 'prepared' }] } });
  expect((await call('pki-admins', 'POST', '/hierarchy/authorities/issuing-2/activation')).body).toMatchObject({ authorities: expect.arrayContaining([expect.objectContaining({ name: 'issuing-2', status: 'active' })]) as unknown[] });
  expect((await call('readers', 'GET', '/hierarchy')).body).toMatchObject({ issuing: 'issuing-2' });
  // What it issued is valid still.
  expect((await call('pki-admins', 'POST', '/hierarchy/authorities/issuing/retirement')).status).toBeGreaterThanOrEqual(400);
});

describe('the door', () => {
  it('is shut for whoever has no role, and says so once', async () => {
    for (const operation of operations) {
      const path = operation.path.replace('{serial}', '1f').replace('{ca}', 'root').replace('{id}', '1f');
      expect(await call('analytics', operation.method, path), operation.id).toMatchObject({ status: 403, body: { code: 'ERR_API_DENIED' } });
    }
    expect((await call('analytics', 'GET', '/certificates')).body).not.toHaveProperty('detail');
    const denied = (await lastEvents()).filter(({ action, actor }) => action === 'api.decided' && actor === 'spiffe://acme.internal/agent/analytics-1');
    expect(denied).toHaveLength(operations.length + 1);
  });

  it('is open to the roles of each operation, and to no other', async () => {
    const reading = ['issuers', 'revokers', 'approvers', 'readers'];
    const open: Readonly<Record<string, readonly string[]>> = {
      listCertificates: reading, getCertificate: reading, issueCertificate: ['issuers'],
      revokeCertificates: ['revokers'], releaseCertificates: ['revokers'], listCrls: reading, publishCrl: ['revokers'],
      listTokens: ['issuers', 'readers'], createToken: ['issuers'], deleteToken: ['issuers'],
      listRequests: ['issuers', 'approvers', 'readers'], getRequest: ['issuers', 'approvers', 'readers'], approveRequest: ['approvers'], denyRequest: ['approvers'],
      prepareAuthority: [], activateAuthority: [], retireAuthority: [], getHierarchy: reading, listProfiles: reading, getHealth: reading, getCaller: reading,
      listAuditEntries: ['readers'], getCheckpoint: ['readers'],
    };
    const found: Record<string, readonly string[]> = {};
    for (const { id, method, path } of operations) {
      const asked = path.replace('{serial}', '1f').replace('{ca}', 'nobody').replace('{id}', '1f');
      // Nothing of this can be done, but whoever may do it is told another reason.
      const answers = await Promise.all([...reading, 'pki-admins'].map(async (who) => ({ who, code: (await call(who, method, asked)).body.code })));
      expect(answers.at(-1), id).not.toMatchObject({ code: 'ERR_API_DENIED' });
      found[id] = answers.slice(0, -1).filter(({ code }) => code !== 'ERR_API_DENIED').map(({ who }) => who);
    }
    expect(found).toEqual(open);
  });

  it('does not let those without a role fill the audit log', async () => {
    const fresh = createApiHandler(world);
    const knock = () => fresh(new Request('http://listener/api/v1/certificates'), { peer: peerOf('eve', 'analytics'), address: undefined });
    const statuses = await Promise.all(Array.from({ length: 60 }, async () => (await knock()).status));
    expect(statuses.filter((status) => status === 403).length).toBeLessThan(60);
    expect(statuses.at(-1)).toBe(429);
  });

  it.each([
    ['an Origin', { origin: 'https://evil.example' }],
    ['a fetch from another site', { 'sec-fetch-site': 'cross-site' }],
    ['a fetch from the same site', { 'sec-fetch-site': 'same-origin' }],
  ])('is shut for a page with %s', async (_what, headers) => {
    const { status, body, headers: answered } = await call('pki-admins', 'POST', '/crls/root', undefined, headers as Record<string, string>);
    expect({ status, code: body.code }).toEqual({ status: 403, code: 'ERR_HTTP_ORIGIN' });
    expect(answered.get('access-control-allow-origin')).toBeNull();
  });

  it('takes JSON only, strictly', async () => {
    expect(await call('pki-admins', 'POST', '/tokens', '{"agent":"a"}', { 'content-type': 'text/plain' })).toMatchObject({ status: 415, body: { code: 'ERR_HTTP_MEDIA_TYPE' } });
    expect(await call('pki-admins', 'POST', '/tokens', '{"agent":"a","agent":"b"}')).toMatchObject({ status: 400, body: { code: 'ERR_API_REQUEST' } });
    expect(await call('pki-admins', 'POST', '/tokens', { agent: 'a', secret: true })).toMatchObject({ status: 400, body: { problems: ['request: Unrecognized key: "secret"'] } });
    expect(await call('pki-admins', 'POST', '/tokens')).toMatchObject({ status: 400 });
  });

  it('knows its paths and methods', async () => {
    expect(await call('readers', 'GET', '/nothing')).toMatchObject({ status: 404, body: { code: 'ERR_HTTP_PATH' } });
    expect(await call('readers', 'DELETE', '/certificates')).toMatchObject({ status: 405, body: { code: 'ERR_HTTP_METHOD' } });
    expect(await call('pki-admins', 'POST', '/tokens', { agent: 'a' }, { 'idempotency-key': 'k' })).toMatchObject({ status: 400 });
  });

  it('is shut for a certificate that is not in the inventory', async () => {
    const response = await handle(new Request('http://listener/api/v1/certificates'), { peer: peerOf('x', 'pki-admins', { serial: 'ee' }), address: undefined });
    expect(await response.json()).toMatchObject({ status: 403, code: 'ERR_PEER_UNKNOWN_SERIAL' });
  });

  it('is shut while nothing can be recorded', async () => {
    const silent = createApiHandler({ ...world, audit: { available: false, enqueue: () => undefined, record: async () => Promise.reject(new Error('full')) } });
    const ask = async (method: string, path: string) => (await silent(new Request(`http://listener/api/v1${path}`, { method }), { peer: peerOf('x', 'pki-admins'), address: undefined })).status;
    expect([await ask('GET', '/certificates'), await ask('POST', '/crls/root')]).toEqual([503, 500]);
  });
});

describe('the description', () => {
  const description = describeApi('0.0.0') as { readonly openapi: string; readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string }>>>>; readonly components: { readonly schemas: object } };

  it('is served to any agent', async () => {
    expect(await call('analytics', 'GET', '/openapi.json')).toMatchObject({ status: 200, body: { openapi: '3.1.1' } });
  });

  it('lists what is served and serves what is listed', () => {
    const described = Object.entries(description.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, { operationId }]) => `${operationId} ${method.toUpperCase()} ${path}`));
    expect(described.toSorted()).toEqual([...operations.map(({ id, method, path }) => `${id} ${method} /api/v1${path}`), 'getDescription GET /api/v1/openapi.json'].toSorted());
    expect(new Set(operations.map(({ id }) => id)).size).toBe(operations.length);
  });

  it('refers only to schemas it has, and uses all of them', () => {
    const names = Object.keys(description.components.schemas);
    const referred = new Set([...JSON.stringify(description).matchAll(/"\$ref":"([^"]+)"/g)].map(([, target]) => target));
    expect([...referred].toSorted()).toEqual(names.map((name) => `#/components/schemas/${name}`).toSorted());
  });

  it('says of each operation its parameters, and where they are', () => {
    for (const [path, methods] of Object.entries(description.paths)) {
      const wanted = [...path.matchAll(/\{([a-z]+)\}/g)].map(([, name]) => name);
      for (const operation of Object.values(methods) as { readonly operationId: string; readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required: boolean }[] }[]) {
        expect((operation.parameters ?? []).filter((parameter) => parameter.in === 'path' && parameter.required).map(({ name }) => name), operation.operationId).toEqual(wanted);
      }
    }
  });

  it('is the one in docs', () => {
    const { info: _info, ...kept } = JSON.parse(readFileSync(new URL('../../docs/openapi.json', import.meta.url), 'utf8')) as { info: object };
    const { info: _served, ...described } = JSON.parse(JSON.stringify(description)) as { info: object };
    expect(kept).toEqual(described);
  });
});
