import { expect, it } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';

const outcome = (trust: string): readonly string[] => {
  try {
    return parseConfig(`trustDomain: acme.internal\ntrust: ${trust}\n`, { directory: '/x' }).findings.map(({ key }) => key);
  } catch (error) {
    return (error as Error).message.split('\n').map((line) => line.replace(/^sallyport\.yaml:\d+:\d+: /u, ''));
  }
};
const corp = 'anchors: r.pem, issuers: any, identity: { from: dns }, crl: c.crl';

it.each<[string, string, readonly string[]]>([
  ['an anchor with a CRL', `{ corp: { ${corp} } }`, []],
  ['a trust domain', '{ mesh: { spiffe: { trustDomain: mesh.example, bundle: b.json } } }', []],
  ['what weakens it, and says so', `{ corp: { ${corp}, dangerouslyAcceptStaleFor: 2h }, mesh: { anchors: r.pem, issuers: any, identity: { from: dns }, dangerouslyAcceptUnknownStatus: true } }`, ['trust.corp.dangerouslyAcceptStaleFor', 'trust.mesh.dangerouslyAcceptUnknownStatus']],
  ['a name that is ours', `{ own: { ${corp} } }`, ['trust.own: the name of an anchor is 1 to 32 lower-case letters, digits and hyphens, and not own, which is our own CA']],
  ['nothing', '{ corp: {} }', ['trust.corp: needs anchors (root certificates), or spiffe (a trust bundle): give one of them', 'trust.corp: does not say which CAs may issue: name them under issuers, or write issuers: any', 'trust.corp: does not say what names an agent: add identity, such as { from: commonName }', 'trust.corp: has nobody who says what is revoked: add crl or ocsp, or shortLived where certificates live for hours']],
  ['nobody who revokes', '{ corp: { anchors: r.pem, issuers: any, identity: { from: dns } } }', ['trust.corp: has nobody who says what is revoked: add crl or ocsp, or shortLived where certificates live for hours']],
  ['a CRL and short lives', `{ corp: { ${corp}, shortLived: 1h } }`, ['trust.corp.shortLived: is for CAs that publish no revocations: remove it, or crl and ocsp']],
  ['a week and more of short lives', '{ corp: { anchors: r.pem, issuers: any, identity: { from: dns }, shortLived: 8d } }', ['trust.corp.shortLived: must be at most 7d']],
  ['our trust domain', '{ mesh: { spiffe: { trustDomain: acme.internal, bundle: b.json } } }', ['trust.mesh.spiffe.trustDomain: is the trust domain of our own CA, and no other authority may name its agents: give it another']],
  ['one trust domain twice', '{ a: { spiffe: { trustDomain: m.example, bundle: b.json } }, b: { anchors: r.pem, issuers: any, identity: { from: spiffe, trustDomain: m.example }, crl: c.crl } }', ['trust.b.identity.trustDomain: is the trust domain of trust.a, and no other authority may name its agents: give it another']],
  ['a trust domain of nobody', '{ corp: { anchors: r.pem, issuers: any, identity: { from: spiffe }, crl: c.crl } }', ['trust.corp.identity: needs the trustDomain whose SPIFFE IDs are believed']],
  ['a bundle over plain HTTP', '{ mesh: { spiffe: { trustDomain: m.example, bundle: "http://m.example/b" } } }', ['trust.mesh.spiffe.bundle: must be a file, or an address that begins with https://, without user name and fragment']],
  ['a CRL from elsewhere', '{ corp: { anchors: r.pem, issuers: any, identity: { from: dns }, crl: "ldap://x/y" } }', ['trust.corp.crl: must be a file, or an address that begins with http:// or https://, without user name and fragment']],
  ['an endpoint that cannot begin', '{ mesh: { spiffe: { trustDomain: m.example, bundle: "https://m.example/b", endpoint: https_spiffe, endpointId: "spiffe://other/x" } } }', ['trust.mesh.spiffe: needs bootstrap, a file with the bundle to begin with: without it the server cannot prove itself the first time', 'trust.mesh.spiffe.endpointId: must be of the trust domain m.example']],
])('trust with %s', (_what, trust, expected) => {
  expect([...outcome(trust)].toSorted()).toEqual([...expected].toSorted());
});
