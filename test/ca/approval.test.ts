import { afterEach, describe, expect, it, vi } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import type { CaStore } from '../../ca/ports.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import { personOf } from '../../ca/person.ts';
import { codeOfRefusal, createAuthority, newCsr, newKey } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

const profiles = { careful: { kind: 'agent', approval: 'required' }, 'careful-server': { kind: 'server', approval: 'required' } } as const;
let fixture: AuthorityFixture;
const make = async (options: Parameters<typeof createAuthority>[0] = {}): Promise<AuthorityFixture> => (fixture = await createAuthority({ profiles, ...options }));
afterEach(() => fixture.close());

/** The id of the request that is left. */
const left = async (call: Promise<unknown>): Promise<string> => {
  const error = await call.then(() => undefined, (thrown: unknown) => thrown);
  if (!(error instanceof CaError) || error.code !== 'ERR_REQUEST_PENDING') throw error ?? new Error('it was issued');
  return String(error.facts['request']);
};
const tokenBy = async (actor: string, agent = 'agent-1') => (await fixture.authority.createToken({ agent, organizationalUnits: ['x'], profile: 'careful', actor })).token;
const actions = async (): Promise<readonly string[]> => (await fixture.events()).filter(({ agent }) => agent?.startsWith('ca:') === false).map(({ action }) => action);

describe('a profile that demands approval', () => {
  it('leaves a request, and gives the certificate to whoever comes back with token and key', async () => {
    const { authority } = await make();
    const token = await tokenBy('cli:alice');
    const key = newKey();
    const ask = (csr = createCsr(key)) => authority.enroll({ token, csr, address: '192.0.2.7' });
    const id = await left(ask());
    expect(await left(ask())).toBe(id);
    expect(await authority.pendingRequests()).toMatchObject([
      { id, state: 'pending', agent: 'agent-1', profile: 'careful', terms: { way: 'token', organizationalUnits: ['x'], requestedBy: 'token:agent-1', vouchedBy: 'cli:alice', address: '192.0.2.7', ttlSeconds: 86_400 } },
    ]);
    const { certificate, request } = await authority.approveRequest(id, { actor: 'cli:bob' });
    expect(request).toMatchObject({ state: 'issued', decidedBy: 'cli:bob', serial: certificate.serial });
    const collected = await ask();
    expect(collected).toEqual(certificate);
    expect((await authority.request(id)).state).toBe('collected');
    expect((await ask()).serial).toBe(certificate.serial);
    expect(await authority.certificates({ agent: 'agent-1' })).toHaveLength(1);
    expect(await actions()).toEqual(['token.created', 'token.spent', 'request.created', 'request.approved', 'certificate.issued', 'request.collected']);
    expect(await fixture.auditIsWhole()).toBe(true);
  });

  it('gives it to nobody else: another key or another token finds nothing', async () => {
    const { authority } = await make();
    const token = await tokenBy('cli:alice');
    const csr = newCsr();
    await left(authority.enroll({ token, csr }));
    expect(await codeOfRefusal(authority.enroll({ token, csr: newCsr() }))).toBe('ERR_TOKEN_SPENT');
    const other = await left(authority.enroll({ token: await tokenBy('cli:alice', 'agent-2'), csr }));
    expect(await authority.pendingRequests()).toHaveLength(2);
    expect((await authority.request(other)).agent).toBe('agent-2');
  });

  it('is collected although the profile demands no approval any more', async () => {
    const { authority } = await make();
    const token = await tokenBy('cli:alice');
    const csr = newCsr();
    const id = await left(authority.enroll({ token, csr }));
    const relaxed = await fixture.reopen({ profiles: { careful: { kind: 'agent' } } });
    expect(await left(relaxed.enroll({ token, csr }))).toBe(id);
    const { certificate } = await relaxed.approveRequest(id, { actor: 'cli:bob' });
    expect((await relaxed.enroll({ token, csr })).serial).toBe(certificate.serial);
  });

  it('is approved by a second person only: not by who made the token, whatever the way he comes', async () => {
    const { authority } = await make();
    const id = await left(authority.enroll({ token: await tokenBy('cli:alice'), csr: newCsr() }));
    for (const actor of ['cli:alice', 'cli:Alice', 'spiffe://acme.internal/user/alice']) expect(await codeOfRefusal(authority.approveRequest(id, { actor }))).toBe('ERR_REQUEST_FOUR_EYES');
    expect((await authority.request(id)).state).toBe('pending');
    expect((await fixture.events()).filter(({ action }) => action === 'request.decisionRefused')).toMatchObject([{ actor: 'cli:alice', reason: 'ERR_REQUEST_FOUR_EYES', outcome: 'denied' }, {}, {}]);
    await authority.approveRequest(id, { actor: 'cli:bob' });
    expect(await codeOfRefusal(authority.approveRequest(id, { actor: 'cli:carol' }))).toBe('ERR_REQUEST_DECIDED');
    expect(await codeOfRefusal(authority.denyRequest(id, { actor: 'cli:carol', reason: 'late' }))).toBe('ERR_REQUEST_DECIDED');
    expect(await codeOfRefusal(authority.request('0000'))).toBe('ERR_REQUEST_UNKNOWN');
  });

  it('waits for the operator who issues too, who comes back with the same request', async () => {
    const { authority } = await make();
    const csr = newCsr();
    const issue = (actor: string) => authority.issue({ agent: 'agent-1', profile: 'careful', csr, actor });
    const id = await left(issue('cli:alice'));
    expect(await codeOfRefusal(authority.approveRequest(id, { actor: 'cli:alice' }))).toBe('ERR_REQUEST_FOUR_EYES');
    const { certificate } = await authority.approveRequest(id, { actor: 'cli:bob' });
    expect((await issue('cli:alice')).serial).toBe(certificate.serial);
    expect(await codeOfRefusal(authority.issue({ agent: 'agent-2', profile: 'careful' }))).toBe('ERR_CA_PROFILE');
    const server = () => authority.issueServer({ hosts: ['db.acme.internal', '10.0.0.1'], profile: 'careful-server', csr: serverCsr, actor: 'acme:1', way: 'acme', credential: 'order 1' });
    const serverCsr = newCsr({ dnsNames: ['db.acme.internal'] });
    const approved = await authority.approveRequest(await left(server()), { actor: 'cli:alice' });
    expect(approved.certificate).toMatchObject({ dnsNames: ['db.acme.internal'], ipAddresses: ['10.0.0.1'] });
    expect((await server()).serial).toBe(approved.certificate.serial);
  });

  it('denies with a reason, which ends it for a token and not for an operator, who may ask again', async () => {
    const { authority } = await make();
    const token = await tokenBy('cli:alice');
    const csr = newCsr();
    const id = await left(authority.enroll({ token, csr }));
    expect(await authority.denyRequest(id, { actor: 'cli:bob', reason: 'not on my watch' })).toMatchObject({ state: 'denied', decidedBy: 'cli:bob', reason: 'not on my watch' });
    await expect(authority.enroll({ token, csr })).rejects.toMatchObject({ code: 'ERR_REQUEST_DENIED', message: expect.stringContaining('not on my watch') });
    const issue = () => authority.issue({ agent: 'agent-3', profile: 'careful', csr: other, actor: 'cli:alice' });
    const other = newCsr();
    const first = await left(issue());
    await authority.denyRequest(first, { actor: 'cli:alice', reason: 'a mistake of mine' });
    expect(await left(issue())).not.toBe(first);
  });

  it('expires on the second, and never is more than so many', async () => {
    const { authority, clock } = await make({ requestExpiry: '1h', maxPendingRequests: 1 });
    const token = await tokenBy('cli:alice');
    const csr = newCsr();
    const id = await left(authority.enroll({ token, csr }));
    const second = await tokenBy('cli:alice', 'agent-2');
    expect(await codeOfRefusal(authority.enroll({ token: second, csr: newCsr() }))).toBe('ERR_REQUEST_QUEUE_FULL');
    clock.turn(3_590);
    expect((await authority.request(id)).state).toBe('pending');
    clock.turn(10);
    expect((await authority.request(id)).state).toBe('expired');
    expect(await codeOfRefusal(authority.approveRequest(id, { actor: 'cli:bob' }))).toBe('ERR_REQUEST_DECIDED');
    expect(await codeOfRefusal(authority.enroll({ token, csr }))).toBe('ERR_REQUEST_EXPIRED');
    expect((await actions()).filter((action) => action === 'request.expired')).toHaveLength(1);
  });

  it('is checked before it is left, which costs no token, and again when it is approved', async () => {
    const { authority } = await make();
    const token = await tokenBy('cli:alice');
    expect(await codeOfRefusal(authority.enroll({ token, csr: newCsr({ commonName: 'root' }) }))).toBe('ERR_CA_CSR_CONTENT');
    const csr = newCsr();
    const id = await left(authority.enroll({ token, csr }));
    const stricter = await fixture.reopen({ profiles: { careful: { kind: 'agent', approval: 'required', organizationalUnits: ['y'] } } });
    expect(await codeOfRefusal(stricter.approveRequest(id, { actor: 'cli:bob' }))).toBe('ERR_CA_PROFILE');
    await authority.issue({ agent: 'agent-1' });
    await authority.revoke({ agent: 'agent-1' }, { reason: 'privilegeWithdrawn' });
    expect(await codeOfRefusal(authority.approveRequest(id, { actor: 'cli:bob' }))).toBe('ERR_CA_IDENTITY_REVOKED');
    expect(await authority.request(id)).toMatchObject({ state: 'denied', decidedBy: 'ca' });
  });
});

describe('a process that ends between approval and certificate', () => {
  /** Never comes back from this call: all that a killed process leaves is what the store has. */
  const stopping = (method: 'recordIntent' | 'recordIssued', before: boolean) => (store: CaStore): CaStore => ({
    ...store,
    [method]: async (...args: never[]) => {
      if (!before) await (store[method] as (...all: never[]) => Promise<void>)(...args);
      return new Promise(() => undefined);
    },
  });

  it.each([
    ['before the intent', 'recordIntent', true],
    ['behind the intent', 'recordIntent', false],
    ['before the certificate is recorded', 'recordIssued', true],
    ['behind it', 'recordIssued', false],
  ] as const)('%s, neither loses it nor makes two', async (when, method, before) => {
    const { authority, store, clock } = await make();
    const token = await tokenBy('cli:alice');
    const csr = newCsr();
    const id = await left(authority.enroll({ token, csr }));
    const dying = await fixture.reopen({ store: stopping(method, before)(store.ca) });
    void dying.approveRequest(id, { actor: 'cli:bob' });
    const leaves = { 'before the intent': [], 'behind the intent': ['intent'], 'before the certificate is recorded': ['intent'], 'behind it': ['issued'] }[when];
    await vi.waitFor(async () => {
      expect((await authority.request(id)).state).toBe('approved');
      expect((await authority.certificates({ agent: 'agent-1' })).map(({ state }) => state)).toEqual(leaves);
    }, { timeout: 10_000, interval: 2 });
    clock.turn(120);
    const next = await fixture.reopen();
    const collected = await next.enroll({ token, csr });
    const all = await next.certificates({ agent: 'agent-1' });
    expect(all.filter(({ state }) => state === 'issued').map(({ serial }) => serial)).toEqual([collected.serial]);
    expect(all.filter(({ state }) => state !== 'issued').every(({ state, der }) => state === 'revoked' && der === undefined)).toBe(true);
    expect(await next.request(id)).toMatchObject({ state: 'collected', serial: collected.serial });
  });
});

it('takes two names of one person for one person', () => {
  for (const actor of ['cli:alice', 'cn:ALICE', 'spiffe://acme.internal/user/alice', 'alice', 'cli:ACME\\Alice', 'cli:alice@acme.example', 'cli:alice ']) expect(personOf(actor)).toBe('alice');
  expect(personOf('cli:uid-1000')).toBe('uid-1000');
});
