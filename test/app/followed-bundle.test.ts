import { createPublicKey } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { EXTENDED_KEY_USAGE } from '../../ca/x509/extension.ts';
import { FollowedBundle } from '../../src/app/followed-bundle.ts';
import type { FollowedBundleOptions } from '../../src/app/followed-bundle.ts';
import { codeOf } from '../../src/errors.ts';
import { fetchDocument } from '../../src/revocation/fetch-document.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';

const [mesh, next] = [createTestPki('Mesh'), createTestPki('Mesh Next')];
const bundleOf = (sequence: number, ...cas: readonly TestIdentity[]): Buffer =>
  Buffer.from(JSON.stringify({ spiffe_sequence: sequence, keys: cas.map(({ certificate, key }) => ({ ...createPublicKey(key).export({ format: 'jwk' }), use: 'x509-svid', x5c: [Buffer.from(certificate.der).toString('base64')] })) }));
const svid = ({ issuing } = mesh, uri = 'spiffe://mesh.example/spire/server'): TestIdentity => issuing.leaf({ names: { uris: [uri] }, extendedKeyUsage: [EXTENDED_KEY_USAGE.serverAuth] });

const directory = mkdtempSync(join(tmpdir(), 'sallyport-bundle-'));
let bundle = bundleOf(2, mesh.root);
const identityOf = ({ keyPem, chainPem }: TestIdentity) => ({ key: keyPem, cert: chainPem });
const server = createServer(identityOf(svid()), (_request, response) => response.end(bundle));
await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
afterAll(() => {
  server.close();
  rmSync(directory, { recursive: true, force: true });
});

const follow = (options: Partial<FollowedBundleOptions> = {}): FollowedBundle => new FollowedBundle({
  trustDomain: 'mesh.example', from: `https://127.0.0.1:${(server.address() as AddressInfo).port}/bundle.json`, kept: join(directory, 'bundle.json'), bootstrap: bundleOf(1, mesh.root),
  server: { endpointId: 'spiffe://mesh.example/spire/server' }, clock: systemClock, randomness: systemRandomness, fetch: fetchDocument, refreshMs: 60_000, onTaken: () => undefined, onProblem: (error) => { throw error; }, ...options,
});
const failure = (promise: Promise<void>): Promise<string> => promise.then(() => 'taken', codeOf);

it('proves the server of a trust domain by the bundle itself, over a change of its roots, and never goes back', async () => {
  const followed = follow();
  await followed.load();
  expect(followed.state).toMatchObject({ sequence: 1n, roots: 1 });
  await followed.refresh();
  expect(followed.state).toMatchObject({ sequence: 2n });
  for (const impostor of [svid(mesh, 'spiffe://mesh.example/web'), svid(createTestPki('Mesh')), svid(next)]) {
    server.setSecureContext(identityOf(impostor));
    expect(await failure(followed.refresh())).toBe('ERR_TRUST_FETCH');
  }
  server.setSecureContext(identityOf(svid()));
  bundle = bundleOf(3, mesh.root, next.root);
  await followed.refresh();
  server.setSecureContext(identityOf(svid(next)));
  bundle = bundleOf(4, next.root);
  await followed.refresh();
  bundle = bundleOf(3, mesh.root);
  expect(await failure(followed.refresh())).toBe('ERR_TRUST_BUNDLE');
  expect(followed.bundle?.roots.map(({ thumbprint }) => thumbprint)).toEqual([next.root.certificate.thumbprint]);
  // After a restart the kept one counts, not the one to begin with.
  const again = follow();
  await again.load();
  expect(again.state).toMatchObject({ sequence: 4n, roots: 1 });
  expect(await failure(again.refresh())).toBe('ERR_TRUST_BUNDLE');
});
