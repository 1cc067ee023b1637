/** The status of certificates by the CRLs that came along. */
import { describe, expect, test } from 'vitest';
import { signWith } from '../../../../ca/x509/algorithm.ts';
import { assembleSigned } from '../../../../ca/x509/certificate.ts';
import { encodeTbsCrl, parseCrl } from '../../../../ca/x509/crl.ts';
import { EXTENSION, encodeCrlDistributionPoints, encodeExtension, encodeNoRevAvail, keyIdentifierOf } from '../../../../ca/x509/extension.ts';
import { integer } from '../../../../ca/x509/der.ts';
import { statusFromCrls } from '../../../../ca/x509/path/crl-status.ts';
import { verifyPath } from '../../../../ca/x509/path/verify-path.ts';
import { AT, authority, crlOf, issuing, judge, keyNumber, leaf, root } from './path-fixture.ts';
import type { Crl } from '../../../../ca/x509/crl.ts';
import type { Issued } from './path-fixture.ts';
import type { CertificateStatus } from '../../../../ca/x509/path/verdict.ts';
import type { RevocationReason } from '../../../../ca/ports.ts';

const HOUR = 3_600_000;
const rootCrl = crlOf(root);
const entry = (of: Issued, reason: RevocationReason = 'keyCompromise') => ({ serial: of.certificate.serial, revokedAt: new Date(AT.getTime() - 2 * HOUR), reason });
const ago = (hours: number) => ({ thisUpdate: new Date(AT.getTime() - hours * HOUR) });
const stale = { thisUpdate: new Date(AT.getTime() - 3 * HOUR), nextUpdate: new Date(AT.getTime() - HOUR) };

const statusOf = (of: Issued, crls: readonly Crl[], issuer = issuing): CertificateStatus => statusFromCrls(crls, { at: AT })(of.certificate, issuer.certificate);
const word = (of: Issued, crls: readonly Crl[], issuer = issuing): string => statusOf(of, crls, issuer).status;

const agent = leaf(issuing);

describe('along a path', () => {
  const verdict = (crls: readonly Crl[]) => verifyPath(agent.certificate, { anchors: [root.certificate], intermediates: [issuing.certificate], at: AT, purpose: 'client', status: statusFromCrls(crls, { at: AT }) });
  test('every certificate below the anchor needs one', () => {
    expect(verdict([crlOf(issuing), rootCrl])).toMatchObject({ ok: true, statuses: [{ status: 'good', source: 'CRL 1 of CN=Issuing,O=Acme' }, { status: 'good', source: 'CRL 1 of CN=Root,O=Acme' }] });
    expect(verdict([rootCrl])).toMatchObject({ code: 'ERR_PATH_STATUS_UNKNOWN', at: agent.certificate, reason: 'nobody says whether it was revoked: no CRL of its issuer was given', clause: 'RFC 5280 §6.3.3' });
    expect(verdict([crlOf(issuing)])).toMatchObject({ code: 'ERR_PATH_STATUS_UNKNOWN', at: issuing.certificate });
  });
  test('a revoked certificate is refused, and a revoked CA before what it issued', () => {
    expect(verdict([crlOf(issuing, { entries: [entry(agent)] }), rootCrl])).toMatchObject({ code: 'ERR_PATH_REVOKED', at: agent.certificate, reason: 'it was revoked at 2026-11-21T10:00:00Z for keyCompromise' });
    expect(verdict([crlOf(issuing, { entries: [entry(agent)] }), crlOf(root, { entries: [entry(issuing, 'cACompromise')] })])).toMatchObject({ code: 'ERR_PATH_REVOKED', at: issuing.certificate });
  });
  test('a revoked path gives way to another one', () => {
    const renewed = authority('Issuing', { issuer: root, key: keyNumber(1), basicConstraints: { ca: true, pathLen: 0 } });
    const status = statusFromCrls([crlOf(issuing), crlOf(root, { entries: [entry(issuing, 'superseded')] })], { at: AT });
    expect(judge(agent.certificate, { intermediates: [issuing.certificate, renewed.certificate], status })).toBe('ok');
  });
});

describe('which CRL is believed', () => {
  test('one of another issuer, another key, or that may not sign CRLs is not', () => {
    expect(word(agent, [rootCrl])).toBe('unknown');
    expect(word(agent, [crlOf(issuing, { signedWith: keyNumber(5), entries: [entry(agent)] })])).toBe('unknown');
    const silent = authority('Silent', { issuer: root, key: keyNumber(2), keyUsage: ['keyCertSign'] });
    expect(word(leaf(silent), [crlOf(silent)], silent)).toBe('unknown');
  });
  test('a CRL of another distribution point says nothing', () => {
    const pointed = leaf(issuing, { extensions: [encodeCrlDistributionPoints(['http://acme.test/1.crl'])] });
    expect(word(pointed, [crlOf(issuing, { idp: { uris: ['http://acme.test/2.crl'] }, entries: [entry(pointed)] })])).toBe('unknown');
    expect(word(pointed, [crlOf(issuing, { idp: { uris: ['http://acme.test/1.crl'] } })])).toBe('good');
  });
  test('an entry without a reason is a revocation', () => {
    expect(statusOf(agent, [crlOf(issuing, { entries: [entry(agent, 'unspecified')] })])).toEqual({ status: 'revoked', reason: 'unspecified', revokedAt: new Date(AT.getTime() - 2 * HOUR) });
  });
  test('one that is out of date proves nothing good, and a revocation all the same', () => {
    expect(statusOf(agent, [crlOf(issuing, stale)])).toEqual({ status: 'unknown', because: 'the CRL is past its nextUpdate; publish or fetch a newer one' });
    expect(word(agent, [crlOf(issuing, { ...stale, entries: [entry(agent)] })])).toBe('revoked');
    expect(word(agent, [crlOf(issuing, { ...stale, entries: [entry(agent, 'certificateHold')] })])).toBe('unknown');
  });
  test('at a time of the past, a later revocation has not happened', () => {
    const later = crlOf(issuing, { thisUpdate: new Date(AT.getTime() + HOUR), entries: [{ ...entry(agent), revokedAt: new Date(AT.getTime() + HOUR) }] });
    expect(word(agent, [later])).toBe('unknown');
    expect(word(agent, [later, crlOf(issuing)])).toBe('good');
  });
  test('of several the newest decides about a hold, and any about a revocation', () => {
    expect(word(agent, [crlOf(issuing, { ...ago(2), crlNumber: 1n, entries: [entry(agent, 'certificateHold')] }), crlOf(issuing, { ...ago(1), crlNumber: 2n })])).toBe('good');
    expect(word(agent, [crlOf(issuing, { ...ago(1), crlNumber: 2n, entries: [entry(agent, 'certificateHold')] }), crlOf(issuing, { ...ago(2), crlNumber: 1n })])).toBe('revoked');
    expect(word(agent, [crlOf(issuing, { ...ago(2), crlNumber: 1n, entries: [entry(agent)] }), crlOf(issuing, { ...ago(1), crlNumber: 2n })])).toBe('revoked');
  });
  test('two certificates of one key are judged each by what it says', () => {
    const mute = authority('Issuing', { issuer: root, key: keyNumber(1), keyUsage: ['keyCertSign'] });
    const status = statusFromCrls([crlOf(issuing)], { at: AT });
    expect(status(agent.certificate, mute.certificate).status).toBe('unknown');
    expect(status(agent.certificate, issuing.certificate).status).toBe('good');
  });
});

describe('delta CRLs', () => {
  const delta = (baseCrlNumber: number, crlNumber: bigint, fields: Parameters<typeof crlOf>[1] = {}) => crlOf(issuing, { ...ago(1), crlNumber, baseCrlNumber, ...fields });
  const base = (fields: Parameters<typeof crlOf>[1] = {}) => crlOf(issuing, { ...ago(2), crlNumber: 5n, ...fields });

  test('one alone says nothing good', () => {
    expect(statusOf(agent, [delta(5, 6n)])).toEqual({ status: 'unknown', because: 'CRL 6 is a delta CRL without its complete one' });
  });
  test('what it adds is revoked', () => {
    expect(word(agent, [base(), delta(5, 6n, { entries: [entry(agent)] })])).toBe('revoked');
    expect(word(agent, [base(), delta(5, 6n, { entries: [entry(agent, 'certificateHold')] })])).toBe('revoked');
    expect(word(agent, [base(), delta(5, 6n)])).toBe('good');
  });
  test('a hold in it counts when it is later than the complete CRL, whatever it was made for', () => {
    const hold = { entries: [entry(agent, 'certificateHold')] };
    expect(word(agent, [base(), delta(6, 7n, hold)])).toBe('revoked');
    expect(word(agent, [base(), delta(4, 6n, hold)])).toBe('revoked');
    expect(word(agent, [base(), delta(4, 5n, hold)])).toBe('good');
  });
  test('what it takes off counts only when it belongs to the complete CRL', () => {
    // removeFromCRL is written by no encoder of ours: 8 in place of the 6 of certificateHold.
    const lifted = (baseCrlNumber: number) => {
      const tbs = Buffer.from(encodeTbsCrl({ issuerName: issuing.certificate.subjectNameDer, signatureAlgorithm: issuing.certificate.signatureAlgorithm, ...ago(1), nextUpdate: new Date(AT.getTime() + HOUR), crlNumber: 7n, baseCrlNumber, authorityKeyIdentifier: keyIdentifierOf(issuing.certificate.spki), entries: [entry(agent, 'certificateHold')] }));
      tbs[tbs.indexOf(Buffer.from('0a0106', 'hex')) + 2] = 8;
      return parseCrl(assembleSigned(tbs, issuing.certificate.signatureAlgorithm, signWith(issuing.key, tbs)));
    };
    const held = base({ entries: [entry(agent, 'certificateHold')] });
    expect(word(agent, [held, lifted(5)])).toBe('good');
    expect(word(agent, [held, lifted(6)])).toBe('revoked');
  });
  test('one of another distribution point takes nothing off, though both are about the certificate', () => {
    const pointed = leaf(issuing, { extensions: [encodeCrlDistributionPoints(['http://acme.test/1.crl'])] });
    const one = { idp: { uris: ['http://acme.test/1.crl'] } };
    const hold = { entries: [entry(pointed, 'certificateHold')] };
    expect(word(pointed, [base(one), delta(5, 6n, { ...one, ...hold })])).toBe('revoked');
    expect([word(pointed, [base(one), delta(5, 6n, hold)]), word(pointed, [base(), delta(5, 6n, { ...one, ...hold })])]).toEqual(['good', 'good']);
  });
  test('its number shows in the source', () => {
    expect(statusOf(agent, [base(), delta(5, 6n)])).toEqual({ status: 'good', source: 'CRL 5 with delta CRL 6 of CN=Issuing,O=Acme' });
  });
});

describe('noRevAvail', () => {
  const short = leaf(issuing, { extensions: [encodeNoRevAvail()] });
  test('needs no CRL, and obeys one', () => {
    expect(word(short, [])).toBe('notPublished');
    expect(word(short, [crlOf(issuing, { entries: [entry(short)] })])).toBe('revoked');
    expect(judge(short.certificate, { status: statusFromCrls([rootCrl], { at: AT }) })).toBe('ok');
  });
  test('does not count beside a distribution point, nor in a CA', () => {
    expect(word(leaf(issuing, { extensions: [encodeNoRevAvail(), encodeCrlDistributionPoints(['http://acme.test/1.crl'])] }), [])).toBe('unknown');
    expect(word(authority('Free', { issuer: root, key: keyNumber(2), extensions: [encodeNoRevAvail()] }), [], root)).toBe('unknown');
  });
});

test('critical extensions of certificates do not hide behind those of CRLs', () => {
  expect(judge(leaf(issuing, { extensions: [encodeExtension(EXTENSION.deltaCrlIndicator, 'critical', integer(1))] }).certificate)).toBe('ERR_PATH_EXTENSION');
});
