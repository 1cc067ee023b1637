import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import { configReference } from '../../src/config/schema.ts';
import { defaultUpstreamName, starterConfig, starterPolicy } from '../../src/config/starter.ts';
import { authorize, grantsOf } from '../../src/policy/authorize.ts';
import { parsePolicy } from '../../src/policy/load.ts';
import { principal } from '../policy/support.ts';

describe('the starting configuration', () => {
  it.each([
    [['localhost'], 'https://localhost:8443', { host: 'localhost', port: 8443 }],
    [['mcp.acme.example', '10.0.0.1'], 'https://mcp.acme.example:8443', { host: '0.0.0.0', port: 8443 }],
    [['::1'], 'https://[::1]:8443', { host: '::1', port: 8443 }],
  ])('for %j loads without a finding and says what was asked', (hosts, url, listen) => {
    const config = parseConfig(starterConfig({ name: 'Acme: "#1" & sons', trustDomain: 'acme.internal', hosts, keyAlgorithm: 'ed25519' }), { directory: '/srv' });
    expect(config).toMatchObject({ name: 'Acme: "#1" & sons', trustDomain: 'acme.internal', ca: { keyAlgorithm: 'ed25519' }, gateway: { url, listen }, findings: [] });
  });
});

describe('the starting policy', () => {
  const policy = parsePolicy(starterPolicy({ trustDomain: 'acme.internal' }));
  const decide = (organizationalUnit: string, name: string, args: unknown = {}) =>
    authorize(grantsOf(policy, principal({ organizationalUnits: [organizationalUnit] })), { kind: 'tool', upstream: defaultUpstreamName, name, arguments: args }).effect;

  it('has no warning', () => {
    expect(policy.findings.filter(({ severity }) => severity === 'warning')).toEqual([]);
  });

  it('lets analytics use some tools and platform all', () => {
    expect([decide('analytics', 'echo'), decide('analytics', 'get-sum'), decide('analytics', 'get-env'), decide('platform', 'get-env'), decide('other', 'echo')]).toEqual(['allow', 'allow', 'deny', 'allow', 'deny']);
  });

  it('shows an argument rule', () => {
    expect([decide('analytics', 'get-annotated-message', { messageType: 'success' }), decide('analytics', 'get-annotated-message', { messageType: 'error' }), decide('analytics', 'get-annotated-message')]).toEqual(['allow', 'deny', 'deny']);
  });
});

describe('the configuration reference', () => {
  it('has a type and a description for every key', () => {
    const rows = configReference();
    expect(rows.filter(({ description }) => description === '')).toEqual([]);
    expect(rows.find(({ key }) => key === 'gateway.listen')).toEqual({ key: 'gateway.listen', type: 'host:port', default: 'localhost:8443', description: 'Where agents connect, mutual TLS only' });
  });

  it('pins the keys', () => {
    expect(configReference().map(({ key, type, default: value }) => `${key} ${type}${value === undefined ? '' : ` = ${value}`}`)).toMatchInlineSnapshot(`
      [
        "name text = Sallyport",
        "trustDomain text = sallyport.internal",
        "publicUrl URL",
        "gateway.listen host:port = localhost:8443",
        "gateway.public host:port | false = 127.0.0.1:8080",
        "gateway.enroll host:port | false = localhost:8444",
        "gateway.url URL",
        "gateway.enrollUrl URL",
        "gateway.allowedHosts list of texts",
        "gateway.allowedOrigins list of texts = []",
        "gateway.minTlsVersion TLSv1.3 | TLSv1.2 = TLSv1.3",
        "gateway.aggregate true | false = false",
        "gateway.proxies list of texts = []",
        "gateway.eras both | legacy | modern = both",
        "gateway.limits.bodyBytes integer = 4194304",
        "gateway.limits.bodyTimeoutMs integer = 10000",
        "gateway.limits.sessionsPerPrincipal integer = 32",
        "gateway.limits.streamsPerPrincipal integer = 16",
        "gateway.limits.requestsPerPrincipal integer = 64",
        "gateway.limits.subscriptionsPerPrincipal integer = 16",
        "gateway.limits.subscribedResourcesPerPrincipal integer = 256",
        "gateway.limits.callTimeoutMs integer = 3600000",
        "gateway.limits.sessionIdleMs integer = 1800000",
        "gateway.limits.upstreamTimeoutMs integer = 120000",
        "gateway.limits.eventBufferPerStream integer = 256",
        "ca.keyAlgorithm p256 | p384 | ed25519 | rsa2048 | rsa3072 | rsa4096 | ml-dsa-44 | ml-dsa-65 | ml-dsa-87 = p256",
        "ca.defaultTtl duration = 24h",
        "ca.maxTtl duration = 90d",
        "ca.serverTtl duration = 90d",
        "ca.maxLivePerAgent integer = 2",
        "ca.retireReplaced duration | never = 1h",
        "ca.crl.lifetime duration = 24h",
        "ca.crl.partitions integer = 1",
        "ca.crl.delta true | false = false",
        "ca.crl.deltaLifetime duration = 1h",
        "ca.ocsp true | false = true",
        "ca.acme.enabled true | false = false",
        "ca.acme.profiles list of texts = ["server"]",
        "ca.acme.dnsSuffixes list of texts = []",
        "ca.acme.ipRanges list of texts = []",
        "ca.acme.agentSuffix text",
        "ca.acme.externalAccount agents | everyone = agents",
        "ca.acme.termsOfService URL",
        "ca.acme.website URL",
        "ca.acme.validationRanges list of texts = ["0.0.0.0/0","::/0"]",
        "ca.acme.dnsServers list of texts = []",
        "ca.acme.dangerouslyHttpPort integer",
        "ca.acme.dangerouslyTlsPort integer",
        "ca.est true | false = true",
        "ca.renewalGrace duration = 0s",
        "ca.refusedKeys list of texts = []",
        "ca.requests.expiry duration = 7d",
        "ca.requests.maxPending integer = 1000",
        "ca.profiles map = {}",
        "ca.profiles.<name>.kind agent | agent-spiffe | server | console-user",
        "ca.profiles.<name>.defaultTtl text",
        "ca.profiles.<name>.maxTtl text",
        "ca.profiles.<name>.minTtl text",
        "ca.profiles.<name>.backdateSeconds integer",
        "ca.profiles.<name>.keyAlgorithms list of texts",
        "ca.profiles.<name>.organization text",
        "ca.profiles.<name>.names list of texts",
        "ca.profiles.<name>.organizationalUnits list of texts",
        "ca.profiles.<name>.requiredOrganizationalUnits list of texts",
        "ca.profiles.<name>.spiffePath text",
        "ca.profiles.<name>.dnsSuffixes list of texts",
        "ca.profiles.<name>.ipRanges list of texts",
        "ca.profiles.<name>.emailDomains list of texts",
        "ca.profiles.<name>.status crl | noRevAvail",
        "ca.profiles.<name>.mayIssue list of texts",
        "ca.profiles.<name>.approval none | required",
        "store text = sqlite:sallyport.db",
        "policy text = policy.yaml",
        "trust map = {}",
        "trust.<name>.anchors list of files",
        "trust.<name>.spiffe.trustDomain text",
        "trust.<name>.spiffe.bundle text",
        "trust.<name>.spiffe.endpoint https_web | https_spiffe = https_web",
        "trust.<name>.spiffe.endpointId text",
        "trust.<name>.spiffe.bootstrap text",
        "trust.<name>.spiffe.ca text",
        "trust.<name>.issuers list of files | any",
        "trust.<name>.identity.from spiffe | commonName | dns | email",
        "trust.<name>.identity.trustDomain text",
        "trust.<name>.crl list of files, URLs or { from, delta, issuer } = []",
        "trust.<name>.ocsp.url URL",
        "trust.<name>.ocsp.nonce optional | required | none = optional",
        "trust.<name>.ocsp.hash sha1 | sha256 = sha1",
        "trust.<name>.maxAge duration",
        "trust.<name>.refresh duration = 15m",
        "trust.<name>.shortLived duration",
        "trust.<name>.dangerouslyAcceptStaleFor duration",
        "trust.<name>.dangerouslyAcceptUnknownStatus true",
        "audit.maxDelayMs integer = 50",
        "audit.arguments digest | full = digest",
        "admins list of maps = []",
        "admins.<number>.role text",
        "admins.<number>.roles list of texts",
        "admins.<number>.when map",
        "admins.<number>.profiles list of texts",
        "admins.<number>.organizationalUnits list of texts",
        "upstreams map = {}",
        "upstreams.<name>.command list of texts",
        "upstreams.<name>.env map = {}",
        "upstreams.<name>.inheritEnv list of texts = []",
        "upstreams.<name>.cwd text",
        "upstreams.<name>.era auto | legacy | modern | both = auto",
        "upstreams.<name>.limits.memoryBytes integer",
        "upstreams.<name>.limits.cpuSeconds integer",
        "upstreams.<name>.limits.openFiles integer",
        "upstreams.<name>.limits.processes integer",
        "upstreams.<name>.idleMs integer = 600000",
        "upstreams.<name>.url URL",
        "upstreams.<name>.era auto | legacy | modern | both = auto",
        "upstreams.<name>.tls.ca text",
        "upstreams.<name>.tls.cert text",
        "upstreams.<name>.tls.key text",
        "upstreams.<name>.tls.serverName text",
        "upstreams.<name>.credential.header text = Authorization",
        "upstreams.<name>.credential.scheme text",
        "upstreams.<name>.credential.fromEnv text",
        "upstreams.<name>.credential.fromFile text",
        "upstreams.<name>.credential.onMissing deny | omit",
        "upstreams.<name>.identity none | headers | signed = none",
        "upstreams.<name>.headers map = {}",
        "log.level trace | debug | info | warn | error | silent = info",
      ]
    `);
  });
});
