import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadConfig, parseConfig } from '../../src/config/load.ts';
import { SallyportError } from '../../src/errors.ts';

const parse = (text: string) => parseConfig(text, { directory: '/srv/port', file: 'sallyport.yaml' });
const refusal = (text: string): SallyportError => {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof SallyportError) return error;
    throw error;
  }
  throw new Error('the configuration was accepted');
};

describe('an empty sallyport.yaml', () => {
  it('means the defaults', () => {
    expect(parse('')).toMatchObject({
      directory: '/srv/port',
      gateway: {
        listen: { host: 'localhost', port: 8443 },
        public: { host: '127.0.0.1', port: 8080 },
        enroll: { host: 'localhost', port: 8444 },
        url: 'https://localhost:8443',
        enrollUrl: 'https://localhost:8444',
        allowedHosts: ['localhost', '127.0.0.1', '[::1]'],
        allowedOrigins: [],
        minTlsVersion: 'TLSv1.3',
        limits: { bodyBytes: 4_194_304, bodyTimeoutMs: 10_000, sessionsPerPrincipal: 32, streamsPerPrincipal: 16, requestsPerPrincipal: 64, subscriptionsPerPrincipal: 16, subscribedResourcesPerPrincipal: 256, callTimeoutMs: 3_600_000, sessionIdleMs: 1_800_000, upstreamTimeoutMs: 120_000, eventBufferPerStream: 256 },
      },
      ca: { keyAlgorithm: 'p256', defaultTtl: 86_400_000, maxTtl: 7_776_000_000, maxLivePerAgent: 2 },
      policyFile: '/srv/port/policy.yaml',
      storeUrl: 'sqlite:/srv/port/sallyport.db',
      audit: { maxDelayMs: 50, arguments: 'digest' },
      log: { level: 'info' },
      findings: [],
    });
  });
});

describe('sallyport.yaml', () => {
  it('takes every key', () => {
    const config = parse(`
name: Acme
trustDomain: acme.internal
publicUrl: http://pki.acme.internal/
gateway:
  listen: "[::1]:8443"
  public: 127.0.0.1:0
  enroll: false
  url: https://mcp.acme.internal/
  allowedHosts: [mcp.acme.internal]
  allowedOrigins: ["https://app.acme.internal"]
  minTlsVersion: TLSv1.2
  limits: { bodyBytes: 1048576 }
ca: { defaultTtl: 15m, maxTtl: 24h, keyAlgorithm: ml-dsa-65 }
store: postgres://sallyport@db/sallyport
policy: ../policy.yaml
audit: { maxDelayMs: 0, arguments: full }
upstreams:
  files: { command: [node, server.js], env: { TOKEN: x } }
  warehouse: { url: "http://127.0.0.1:3000/mcp" }
  billing:
    url: https://billing.acme.internal/mcp
    era: modern
    tls: { ca: certs/billing.pem, cert: certs/client.pem, key: keys/client.pem, serverName: billing }
    credential: { fromFile: "credentials/{commonName}.token", onMissing: omit }
    identity: signed
    headers: { x-tenant: acme }
log: { level: debug }
`);
    expect(config.gateway).toMatchObject({ listen: { host: '::1', port: 8443 }, enroll: false, url: 'https://mcp.acme.internal', enrollUrl: undefined, allowedHosts: ['mcp.acme.internal'] });
    expect([config.publicUrl, config.policyFile, config.storeUrl]).toEqual(['http://pki.acme.internal', '/srv/policy.yaml', 'postgres://sallyport@db/sallyport']);
    expect([...config.upstreams]).toEqual([
      ['files', { command: ['node', 'server.js'], env: { TOKEN: 'x' }, inheritEnv: [], era: 'auto', limits: {}, idleMs: 600_000 }],
      ['warehouse', { url: 'http://127.0.0.1:3000/mcp', era: 'auto', identity: 'none', headers: {} }],
      ['billing', {
        url: 'https://billing.acme.internal/mcp', era: 'modern', identity: 'signed', headers: { 'x-tenant': 'acme' },
        tls: { ca: 'certs/billing.pem', cert: 'certs/client.pem', key: 'keys/client.pem', serverName: 'billing' },
        credential: { header: 'Authorization', fromFile: 'credentials/{commonName}.token', onMissing: 'omit' },
      }],
    ]);
    expect(config.findings.map(({ key }) => key)).toEqual(['gateway.minTlsVersion', 'audit.arguments']);
  });

  it.each([
    ['an unknown key', 'gatway: {}', 'sallyport.yaml:1:1: gatway: unknown key: did you mean gateway?'],
    ['a variable of the gateway\'s own', 'upstreams:\n  a: { command: [x], inheritEnv: [SALLYPORT_PASSPHRASE] }', "sallyport.yaml:2:35: upstreams.a.inheritEnv[0]: must be the name of an environment variable, and not one of the gateway's own"],
    ['an unknown key of a credential', 'upstreams:\n  a: { url: "https://x/", credential: { file: x } }', 'sallyport.yaml:2:41: upstreams.a.credential.file: unknown key: known here are header, scheme, fromEnv, fromFile, onMissing'],
    ['a credential from two places', 'upstreams:\n  a: { url: "https://x/", credential: { fromEnv: X, fromFile: y } }', 'sallyport.yaml:2:27: upstreams.a.credential: must hold either fromEnv or fromFile'],
    ['a credential from nowhere', 'upstreams:\n  a: { url: "https://x/", credential: { scheme: Bearer } }', 'sallyport.yaml:2:27: upstreams.a.credential: must hold either fromEnv or fromFile'],
    ['a variable of the gateway\'s own as credential', 'upstreams:\n  a: { url: "https://x/", credential: { fromEnv: SALLYPORT_PASSPHRASE } }', "sallyport.yaml:2:41: upstreams.a.credential.fromEnv: must be the name of an environment variable, and not one of the gateway's own"],
    ['a placeholder that is not ours', 'upstreams:\n  a: { url: "https://x/", credential: { fromFile: "{serial}" } }', 'sallyport.yaml:2:41: upstreams.a.credential.fromFile: may hold {commonName} once, and nothing else in braces'],
    ['a placeholder twice', 'upstreams:\n  a: { url: "https://x/", credential: { fromFile: "{commonName}/{commonName}" } }', 'sallyport.yaml:2:41: upstreams.a.credential.fromFile: may hold {commonName} once, and nothing else in braces'],
    ['onMissing where nobody has one of its own', 'upstreams:\n  a: { url: "https://x/", credential: { fromFile: x, onMissing: deny } }', 'sallyport.yaml:2:54: upstreams.a.credential.onMissing: is about credentials of single agents: put {commonName} into fromFile, or remove it'],
    ['a header that the credential sets', 'upstreams:\n  a: { url: "https://x/", credential: { fromEnv: X }, headers: { authorization: y } }', 'sallyport.yaml:2:55: upstreams.a.headers: holds Authorization, as the credential does: remove one'],
    ['TLS for plain http', 'upstreams:\n  a: { url: "http://x/", tls: { ca: x } }', 'sallyport.yaml:2:26: upstreams.a.tls: is set, but url is plain http: write https, or remove tls'],
    ['a certificate without its key', 'upstreams:\n  a: { url: "https://x/", tls: { cert: x } }', 'sallyport.yaml:2:34: upstreams.a.tls.cert: is set without tls.key: name its private key too'],
    ['a key without its certificate', 'upstreams:\n  a: { url: "https://x/", tls: { key: x } }', 'sallyport.yaml:2:34: upstreams.a.tls.key: is set without tls.cert: name its certificate too'],
    ['signed identities that nobody could verify', 'gateway: { public: false }\nupstreams:\n  a: { url: "https://x/", identity: signed }', 'sallyport.yaml:3:27: upstreams.a.identity: is signed, but gateway.public is false: nobody could fetch the key that verifies it'],
    ['an unknown limit of a command', 'upstreams:\n  a: { command: [x], limits: { memory: 1 } }', 'sallyport.yaml:2:32: upstreams.a.limits.memory: unknown key: known here are memoryBytes, cpuSeconds, openFiles, processes'],
    ['an address without port', 'gateway:\n  listen: localhost', 'sallyport.yaml:2:3: gateway.listen: must be host:port, such as localhost:8443, or [::1]:8443 for IPv6'],
    ['a port out of range', 'gateway: { listen: "localhost:65536" }', 'sallyport.yaml:1:12: gateway.listen: must be host:port, such as localhost:8443, or [::1]:8443 for IPv6'],
    ['IPv6 without brackets', 'gateway: { public: "::1:8080" }', 'sallyport.yaml:1:12: gateway.public: must be host:port, such as localhost:8443, or [::1]:8443 for IPv6'],
    ['a number for a duration', 'ca: { defaultTtl: 24 }', 'sallyport.yaml:1:7: ca.defaultTtl: must be a duration such as 24h or 15m'],
    ['a duration of nothing', 'ca: { defaultTtl: 0h }', 'sallyport.yaml:1:7: ca.defaultTtl: must be a duration such as 24h or 15m (ms, s, m, h, d)'],
    ['a default longer than the longest', 'ca: { defaultTtl: 2d, maxTtl: 1d }', 'sallyport.yaml:1:7: ca.defaultTtl: is longer than ca.maxTtl: shorten it, or raise maxTtl'],
    ['two listeners on one port', 'gateway: { listen: "localhost:9000", enroll: "localhost:9000" }', 'sallyport.yaml:1:38: gateway.enroll: is localhost:9000, as gateway.listen is: give each listener its own port'],
    ['a public URL without listener', 'publicUrl: http://a/\ngateway: { public: false }', 'sallyport.yaml:1:1: publicUrl: is set, but gateway.public is false: certificates would name an address where nothing answers'],
    ['two upstreams of one name', 'upstreams:\n  a: { url: "http://x/" }\n  a: { url: "http://y/" }', 'sallyport.yaml:3:3: the key a stands here twice: keep one'],
    ['an upstream of both kinds', 'upstreams: { a: { url: "http://x/", command: [x] } }', 'sallyport.yaml:1:14: upstreams.a: must hold either command (a list) or url'],
    ['an upstream of neither kind', 'upstreams: { a: { } }', 'sallyport.yaml:1:14: upstreams.a: must hold either command (a list) or url'],
    ['an upstream name that is a path', 'upstreams: { "../a": { url: "http://x/" } }', 'sallyport.yaml:1:14: upstreams["../a"]: an upstream name is 1 to 63 lower-case letters, digits and dashes, and not mcp'],
    ['a key for another store', 'store: mysql://x', 'sallyport.yaml:1:1: store: must be sqlite:<file>, or postgres://…'],
    ['a key algorithm that is not ours', 'ca: { keyAlgorithm: rsa1024 }', 'sallyport.yaml:1:7: ca.keyAlgorithm: must be one of p256, p384, ed25519, rsa2048, rsa3072, rsa4096, ml-dsa-44, ml-dsa-65, ml-dsa-87'],
    ['http for agents', 'gateway: { url: "http://x" }', 'sallyport.yaml:1:12: gateway.url: must be an https URL, without user name and fragment'],
  ])('refuses %s with its place', (_what, text, message) => {
    const error = refusal(text);
    expect(error.code).toBe('ERR_CONFIG_INVALID');
    expect(error.message).toBe(message);
  });

  it('warns of a public listener that other machines reach, and of a name nobody dials', () => {
    expect(parse('gateway: { public: "0.0.0.0:8080", listen: "0.0.0.0:8443" }').findings.map(({ key }) => key)).toEqual(['gateway.public', 'gateway.url']);
  });

  it('warns of credentials and forgeable identities on a network', () => {
    const findings = (upstream: string) => parse(`upstreams: { a: ${upstream} }`).findings;
    expect(findings('{ url: "http://x/", credential: { fromEnv: X }, identity: headers }')).toEqual([
      { key: 'upstreams.a', message: 'its credential goes over the network in plain http: give it an https url' },
      { key: 'upstreams.a', message: 'it learns who calls from headers that anyone on the network can write: give it an https url, or set identity to signed' },
    ]);
    expect(findings('{ url: "http://x/", headers: { X-Api-Key: y } }')).toHaveLength(1);
    for (const quiet of ['{ url: "http://127.0.0.1/", credential: { fromEnv: X }, identity: headers }', '{ url: "http://[::1]:1/", credential: { fromEnv: X } }', '{ url: "https://x/", credential: { fromEnv: X }, identity: headers }', '{ url: "http://x/", identity: signed }']) expect(findings(quiet)).toEqual([]);
  });

  it('whatever the text, fails only with ERR_CONFIG_INVALID', () => {
    const value = fc.oneof(fc.constantFrom('localhost:1', '24h', 'x', '', null, true, 1, -1, 1e9), fc.array(fc.string(), { maxLength: 2 }), fc.dictionary(fc.constantFrom('listen', 'url', 'command', 'limits', 'level', 'defaultTtl', 'a'), fc.constantFrom('localhost:1', 1, null, 'https://x'), { maxKeys: 3 }));
    const file = fc.dictionary(fc.constantFrom('name', 'trustDomain', 'publicUrl', 'gateway', 'ca', 'store', 'policy', 'audit', 'upstreams', 'log', 'other'), value, { maxKeys: 4 }).map((object) => JSON.stringify(object));
    fc.assert(
      fc.property(fc.oneof(file, fc.string({ maxLength: 100 })), (text) => {
        try {
          parse(text);
        } catch (error) {
          expect((error as SallyportError).code).toBe('ERR_CONFIG_INVALID');
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('loadConfig', () => {
  let directory = '';
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'sallyport-config-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('says what to run where there is no configuration', async () => {
    await expect(loadConfig(directory)).rejects.toMatchObject({ code: 'ERR_CONFIG_MISSING', message: `no sallyport.yaml in ${directory}: run sallyport init --dir ${directory}, or name the data directory with --dir` });
  });

  it('reads the file of the directory', async () => {
    await writeFile(join(directory, 'sallyport.yaml'), 'name: Acme\n');
    await expect(loadConfig(directory)).resolves.toMatchObject({ name: 'Acme', directory });
  });
});
