import { createServer } from 'node:https';
import { createServer as createHttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createPublicKey } from 'node:crypto';
import { attempt, openStream } from '../../src/demo/stranger.ts';
import { createGateway } from '../../src/index.ts';
import type { RunningGateway } from '../../src/index.ts';
import { createLogger } from '../../src/app/log.ts';
import { isFaultyRuntime } from '../../src/tls/known-runtimes.ts';
import { Workplace } from '../cli/run.ts';
import { createV1Handler } from '../support/mcp-servers/v1-http.ts';
import { createTestPki, revokedEntry } from '../support/pki.ts';
import type { TestIdentity } from '../support/pki.ts';

const corp = createTestPki('Corp');
const mesh = createTestPki('Mesh');
const alice = corp.issuing.leaf({ commonName: 'alice', organizationalUnits: ['analytics'], names: { emails: ['alice@corp.example'] } });
const bob = corp.issuing.leaf({ commonName: 'bob', names: { emails: ['bob@corp.example'] } });
const workload = mesh.issuing.leaf({ names: { uris: ['spiffe://mesh.example/ns/prod/web'] }, notAfter: new Date(Date.now() + 1_800_000) });
const bundleOf = (sequence: number, ...cas: readonly TestIdentity[]): string =>
  JSON.stringify({ spiffe_sequence: sequence, keys: cas.map(({ certificate, key }) => ({ ...createPublicKey(key).export({ format: 'jwk' }), use: 'x509-svid', x5c: [Buffer.from(certificate.der).toString('base64')] })) });

let crl = corp.issuing.crl({ entries: [], crlNumber: 1 });
let bundle = bundleOf(1, mesh.root);
const web = corp.issuing.server();
const crls = createHttpServer((_request, response) => response.end(crl));
const bundles = createServer({ key: web.keyPem, cert: web.chainPem }, (_request, response) => response.end(bundle));
const place = await Workplace.make();
let gateway: RunningGateway;
const server = createV1Handler();

beforeAll(async () => {
  await Promise.all([crls, bundles].map((each) => new Promise<void>((resolve) => { each.listen(0, '127.0.0.1', resolve); })));
  const [crlPort, bundlePort] = [crls, bundles].map((each) => (each.address() as AddressInfo).port);
  await place.run('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal');
  writeFileSync(place.path('port', 'corp-root.pem'), corp.root.certPem);
  writeFileSync(place.path('port', 'corp-issuing.pem'), corp.issuing.certPem);
  const config = readFileSync(place.path('port', 'sallyport.yaml'), 'utf8').replace(/^upstreams:[\s\S]*?(?=^\S|\s*$(?![\s\S]))/mu, '');
  writeFileSync(place.path('port', 'sallyport.yaml'), `${config}
trust:
  corp: { anchors: [corp-root.pem], issuers: [corp-issuing.pem], identity: { from: commonName }, crl: ["http://127.0.0.1:${crlPort}/corp.crl"] }
  mesh: { spiffe: { trustDomain: mesh.example, bundle: "https://localhost:${bundlePort}/bundle.json", ca: corp-root.pem } }
`);
  writeFileSync(place.path('port', 'policy.yaml'), `
roles: { analyst: { grants: [{ upstream: "*", tools: [echo] }] }, ours: { grants: [{ upstream: "*", tools: ["*"] }] } }
bindings: [{ role: ours, when: { organizationalUnit: analytics } }, { role: analyst, when: { trust: [corp, mesh] } }]
`);
  for (const [name, identity] of Object.entries({ alice, bob, workload, own: corp.issuing.leaf() })) writeFileSync(place.path(`${name}.pem`), identity.chainPem);
});
afterAll(async () => {
  await server.close();
  crls.close();
  bundles.close();
  await place.remove();
});

const credentials = (identity: TestIdentity) => ({ ca: readFileSync(place.path('port', 'certs', 'root.cert.pem'), 'utf8'), cert: identity.chainPem, key: identity.keyPem });
const anchors = async (...argv: readonly string[]) => {
  const { code, stdout } = await place.run('trust', ...argv, '--dir', 'port', '--json');
  return { code, anchors: (JSON.parse(stdout) as { anchors: readonly { name: string; roots: readonly unknown[]; crls: readonly { standing: string; crlNumber: string | null }[]; problems?: readonly { code: string }[] }[] }).anchors };
};

if (isFaultyRuntime(process.version)) console.warn(`certificates of other authorities skipped: ${process.version} withholds the chain that peers send`);

describe.skipIf(isFaultyRuntime(process.version))('certificates of other authorities', { timeout: 30_000 }, () => {
  it('are looked over and fetched by hand', async () => {
    expect(await anchors('list')).toMatchObject({ code: 3, anchors: [{ name: 'corp', crls: [{ standing: 'absent' }] }, { name: 'mesh', roots: [] }] });
    expect(await anchors('refresh')).toMatchObject({ code: 0, anchors: [{ crls: [{ standing: 'fresh', crlNumber: '1' }], problems: [] }, { roots: [{ subject: 'CN=Mesh Root,O=Test' }], problems: [] }] });
    const { code, stdout } = await place.run('trust', 'list', '--dir', 'port');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^corp\n {2}root +CN=Corp Root,O=Test, until [\s\S]*fresh · number 1 · 0 revoked · ends [\s\S]*\nmesh\n[\s\S]*bundle +https:\/\/localhost:\d+\/bundle\.json, number 1, looked up /);
    expect(await place.run('trust', 'refresh', 'nobody', '--dir', 'port')).toMatchObject({ code: 2, stderr: expect.stringContaining('no authority is named nobody under trust: there are corp, mesh') as string });
    const checked = await place.run('trust', 'check', 'alice.pem', 'workload.pem', 'own.pem', '--dir', 'port', '--json');
    expect([checked.code, (JSON.parse(checked.stdout) as { results: unknown }).results]).toMatchObject([3, [
      { ok: true, trust: 'corp', principal: 'corp/cn:alice', roles: ['analyst'] }, { ok: true, trust: 'mesh', principal: 'spiffe://mesh.example/ns/prod/web' }, { ok: false, code: 'ERR_PEER_IDENTITY' },
    ]]);
    expect((await place.run('policy', 'explain', '--cert', 'alice.pem', '--tool', 'echo', '--upstream', 'x', '--dir', 'port')).code).toBe(0);
    expect((await place.run('policy', 'explain', '--cert', 'alice.pem', '--tool', 'add', '--upstream', 'x', '--dir', 'port')).code).toBe(3);
  });

  it('let their holders in without a restart, and are cut as soon as a CRL or bundle takes them back', async () => {
    gateway = await createGateway({
      directory: place.path('port'), listen: 'localhost:0', public: false, enroll: false, logger: createLogger({ level: 'silent' }),
      upstreams: { echo: { handler: server.handle } },
    });
    await gateway.listen();
    const url = `${gateway.url}/mcp`;
    expect((await attempt(url, credentials(bob))).code).not.toMatch(/^ERR_PEER/);
    expect((await attempt(url, credentials(corp.issuing.leaf()))).code).toBe('ERR_PEER_IDENTITY');
    const streams = await Promise.all([alice, workload].map((identity) => openStream(url, credentials(identity))));
    crl = corp.issuing.crl({ entries: [revokedEntry(alice)], crlNumber: 2 });
    expect((await anchors('refresh', 'corp')).code).toBe(0);
    await streams[0]?.ended;
    expect((await attempt(url, credentials(alice))).code).toBe('ERR_PEER_REVOKED');
    expect((await attempt(url, credentials(bob))).code).not.toMatch(/^ERR_PEER/);
    // An older one is refused by the hand that brings it.
    crl = corp.issuing.crl({ entries: [], crlNumber: 1 });
    expect(await anchors('refresh', 'corp')).toMatchObject({ code: 1, anchors: [{ crls: [{ crlNumber: '2' }], problems: [{ code: 'ERR_CRL_STALE' }] }] });
    bundle = bundleOf(2);
    expect((await anchors('refresh', 'mesh')).code).toBe(0);
    await streams[1]?.ended;
    expect((await attempt(url, credentials(workload))).code).toBe('ERR_PEER_UNTRUSTED');
    // Written together with others, a moment later.
    await gateway.close({ drainMs: 0 });
    const entries = (await place.run('audit', 'tail', '--dir', 'port', '--json', '-n', '100')).stdout;
    for (const action of ['trust.refreshed', 'trust.changed', 'connection.cut']) expect(entries).toContain(action);
  });
});
