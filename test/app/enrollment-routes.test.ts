import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ApiWorld } from '../../src/api/operation.ts';
import { enrollmentRoutes } from '../../src/app/enrollment-routes.ts';
import type { EnrollmentCaller } from '../../src/gateway/enrollment-server.ts';
import { createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority();
});
afterAll(() => fixture.close());

it('lets an agent renew so often, by whichever way and certificate, that its renewals fill neither CRL nor audit log', async () => {
  const { authority } = fixture;
  let ms = 1_000_000;
  const api = { clock: { now: () => new Date(ms) } } as unknown as ApiWorld;
  const routes = enrollmentRoutes({ authority, acme: undefined, est: { keyAlgorithm: 'p256' }, places: () => ({ gateway: '', enrollment: '' }), api });
  const renew = async (agent: string, path = '/renew', serial = '1f'): Promise<number | string> => {
    const caller = { address: '192.0.2.1', peer: { principal: { id: `spiffe://acme.internal/agent/${agent}`, issuerId: authority.issuing.id, serial } } } as unknown as EnrollmentCaller;
    try {
      return (await routes.find((route) => route.path === path)?.handle(new Request(`http://listener${path}`, { method: 'POST' }), caller))?.status ?? 0;
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  for (let times = 0; times < 60; times += 1) expect(await renew('eager', '/renew', times.toString(16))).toBe(400);
  expect([await renew('eager'), await renew('eager', '/.well-known/est/simplereenroll'), await renew('eager', '/.well-known/est/simpleenroll')]).toEqual(Array.from({ length: 3 }, () => 'ERR_LIMIT_REQUESTS'));
  expect(await renew('patient')).toBe(400);
  ms += 5_000;
  expect([await renew('eager'), await renew('eager')]).toEqual([400, 'ERR_LIMIT_REQUESTS']);
});
