import { expect, it } from 'vitest';
import * as authority from '../../ca/index.ts';
import * as bridge from '../../src/bridge/index.ts';
import * as gateway from '../../src/index.ts';
import manifest from '../../package.json' with { type: 'json' };

it('has three entry points', () => {
  expect(Object.keys(manifest.exports)).toEqual(['.', './ca', './bridge', './package.json']);
});

it.each([
  ['sallyport', gateway, [
    'SallyportError',
    'createGateway',
    'errorTable',
    'openDeployment',
    'openStore',
    'protect',
    'protectFetch',
  ]],
  ['sallyport/ca', authority, [
    'CaError',
    'CertificateAuthority',
    'builtinProfiles',
    'caKeyOfSigner',
    'createCaCertificateHandler',
    'createCrlHandler',
    'createEnrollHandler',
    'createEstHandler',
    'createHierarchy',
    'createOcspHandler',
    'createProfile',
    'createProfiles',
    'createRenewHandler',
    'createTrustBundleHandler',
    'estOperations',
    'exportPrivateKey',
    'formatDuration',
    'generatePrivateKey',
    'hierarchyOf',
    'issuanceWays',
    'keyAlgorithms',
    'loadHierarchy',
    'parseCertificate',
    'parseDuration',
    'parsePrivateKey',
    'parseToken',
    'readPrivateKey',
    'revocationReasons',
    'signerOf',
    'writePrivateKey',
  ]],
  ['sallyport/bridge', bridge, [
    'SallyportError',
    'createBridgeTransport',
    'createIdentityFetch',
    'enroll',
    'loadIdentity',
    'watchIdentity',
  ]],
])('%s exports what it promises and no more', (_name, module, names) => {
  expect(Object.keys(module).toSorted()).toEqual(names);
});
