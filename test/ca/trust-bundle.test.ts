import { afterAll, beforeAll, expect, it } from 'vitest';
import { createTrustBundleHandler } from '../../ca/http/publication.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { parseSpiffeBundle } from '../../src/identity/spiffe-bundle.ts';
import { createAuthority } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
beforeAll(async () => {
  fixture = await createAuthority();
  fixture.clock.turn(5);
});
afterAll(() => fixture.close());

const fetchBundle = (path: string, init: RequestInit = {}): Promise<Response> => handle(new Request(`http://pki${path}`, init));
let handle: (request: Request) => Promise<Response>;
beforeAll(() => {
  handle = createTrustBundleHandler({ authority: fixture.authority });
});

it('the bundle in PEM holds roots and issuing CAs that are trusted now, and says when it is unchanged', async () => {
  const { authority } = fixture;
  const first = await fetchBundle('/ca/bundle.pem');
  expect([first.status, first.headers.get('content-type'), first.headers.get('cache-control')]).toEqual([200, 'application/x-pem-file', 'public, max-age=300']);
  expect(await first.text()).toBe(authority.root.pem + authority.issuing.pem);
  const tag = first.headers.get('etag') ?? '';
  expect((await fetchBundle('/ca/bundle.pem', { headers: { 'if-none-match': tag } })).status).toBe(304);
  expect((await fetchBundle('/ca/bundle.pem', { method: 'POST' })).status).toBe(405);

  await authority.prepareIssuer({ role: 'root', keyAlgorithm: 'ml-dsa-65' });
  const next = await fetchBundle('/ca/bundle.pem', { headers: { 'if-none-match': tag } });
  expect([next.status, decodePem(await next.text(), 'CERTIFICATE').length]).toEqual([200, 4]);
  await authority.activateIssuer('root-2', { settling: 'waived' });
  await authority.retireIssuer('root');
  expect(await (await fetchBundle('/ca/bundle.pem')).text()).toBe(authority.root.pem + authority.issuing.pem);
});

it('the SPIFFE bundle holds the roots, as keys and certificates, and counts its changes', async () => {
  const { authority } = fixture;
  const response = await fetchBundle('/.well-known/spiffe-bundle');
  expect(response.headers.get('content-type')).toBe('application/json');
  const octets = await response.bytes();
  const bundle = parseSpiffeBundle(octets, { trustDomain: 'acme.internal' });
  expect(bundle.roots.map(({ spkiHash }) => spkiHash)).toEqual([authority.root.id]);
  expect([bundle.sequence, bundle.refreshHintMs]).toEqual([4n, 300_000]);
  const { keys } = JSON.parse(Buffer.from(octets).toString()) as { keys: readonly Record<string, unknown>[] };
  expect(keys[0]).toMatchObject({ kty: 'AKP', alg: 'ML-DSA-65', use: 'x509-svid' });
});
