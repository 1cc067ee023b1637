import { expect, it } from 'vitest';
import { configReference } from '../../src/config/schema.ts';

it('keeps the keys of sallyport.yaml and their defaults', () => {
  expect(configReference().map((row) => (row.default === undefined ? row.key : `${row.key} = ${row.default}`))).toEqual([
    'name = Sallyport',
    'trustDomain = sallyport.internal',
    'publicUrl',
    'gateway.listen = localhost:8443',
    'gateway.public = 127.0.0.1:8080',
    'gateway.enroll = localhost:8444',
    'gateway.url',
    'gateway.enrollUrl',
    'gateway.allowedHosts',
    'gateway.allowedOrigins = []',
    'gateway.minTlsVersion = TLSv1.3',
    'gateway.eras = both',
    'gateway.limits.bodyBytes = 4194304',
    'gateway.limits.bodyTimeoutMs = 10000',
    'gateway.limits.sessionsPerPrincipal = 32',
    'gateway.limits.streamsPerPrincipal = 16',
    'gateway.limits.requestsPerPrincipal = 64',
    'gateway.limits.subscriptionsPerPrincipal = 16',
    'gateway.limits.subscribedResourcesPerPrincipal = 256',
    'gateway.limits.callTimeoutMs = 3600000',
    'gateway.limits.sessionIdleMs = 1800000',
    'gateway.limits.upstreamTimeoutMs = 120000',
    'gateway.limits.eventBufferPerStream = 256',
    'ca.keyAlgorithm = p256',
    'ca.defaultTtl = 24h',
    'ca.maxTtl = 90d',
    'ca.serverTtl = 90d',
    'ca.maxLivePerAgent = 2',
    'ca.profiles = {}',
    'ca.profiles.<name>.kind',
    'ca.profiles.<name>.defaultTtl',
    'ca.profiles.<name>.maxTtl',
    'ca.profiles.<name>.backdateSeconds',
    'ca.profiles.<name>.keyAlgorithms',
    'ca.profiles.<name>.organizationalUnits',
    'ca.profiles.<name>.organization',
    'ca.profiles.<name>.status',
    'store = sqlite:sallyport.db',
    'policy = policy.yaml',
    'audit.maxDelayMs = 50',
    'audit.arguments = digest',
    'upstreams = {}',
    'upstreams.<name>.command',
    'upstreams.<name>.env = {}',
    'upstreams.<name>.cwd',
    'upstreams.<name>.url',
    'upstreams.<name>.headers = {}',
    'log.level = info',
  ]);
});

it.each(configReference())('$key says what it means', ({ description, type }) => {
  expect(description.length).toBeGreaterThan(10);
  expect(type).not.toBe('');
});
