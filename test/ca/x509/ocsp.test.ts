import { readFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signWith } from '../../../ca/x509/algorithm.ts';
import { boolean, element, explicit, implicit, integer, nullValue, octetString, oid, sequence } from '../../../ca/x509/der.ts';
import { encodeExtension } from '../../../ca/x509/extension.ts';
import { assembleOcspResponse, encodeCertificateId, encodeOcspError, encodeOcspRequest, encodeOcspResponseData, parseOcspRequest, parseOcspResponse } from '../../../ca/x509/ocsp.ts';
import type { OcspCertificateStatus, OcspError, OcspResponderId } from '../../../ca/x509/ocsp.ts';
import { encodePem } from '../../../ca/x509/pem.ts';
import { serialToHex } from '../../../ca/x509/serial.ts';
import { DAY, NOW, makeCa, makeLeaf, newSerial } from './authority-fixture.ts';
import { openssl, scratch } from './openssl.ts';
import { refusal } from './refusal.ts';

const ca = makeCa('p256');
const issuer = ca.certificate;
const serial = newSerial();
const id = encodeCertificateId({ hash: 'sha1', issuer, serial: serialToHex(serial) });
const file = scratch();
const caFile = file('ca.pem', encodePem('CERTIFICATE', issuer.der));
const leafFile = file('leaf.pem', encodePem('CERTIFICATE', makeLeaf(ca, { serial })));
const hasOcsptool = spawnSync('ocsptool', ['--version']).status === 0;
if (!hasOcsptool) console.warn('skipped: ocsptool (GnuTLS) is not installed, so its OCSP requests are not read');

const requestOf = (list: Uint8Array, ...more: readonly Uint8Array[]) => sequence(sequence(sequence(list), ...more));
const noncesOf = (value: Uint8Array) => explicit(2, sequence(encodeExtension('1.3.6.1.5.5.7.48.1.2', 'nonCritical', value)));
const idOf = (parts: { hash?: Uint8Array; name?: Uint8Array; key?: Uint8Array; serial?: Uint8Array }) =>
  sequence(sequence(parts.hash ?? sequence(oid('1.3.14.3.2.26')), octetString(parts.name ?? new Uint8Array(20)), octetString(parts.key ?? new Uint8Array(20)), parts.serial ?? integer(1)));

/** A request of so many octets. */
const paddedTo = (octets: number): Uint8Array => {
  const padded = (by: number) => requestOf(sequence(id), explicit(2, sequence(encodeExtension('1.2.3', 'nonCritical', octetString(new Uint8Array(by))))));
  return padded(3_000 + octets - padded(3_000).length);
};

describe('an OCSP request', () => {
  it.each(['sha1', 'sha256'] as const)('of OpenSSL with %s is read, and ours is the same octets', (hash) => {
    const path = file('request.der', '');
    openssl('ocsp', '-issuer', caFile, `-${hash}`, '-cert', leafFile, '-no_nonce', '-reqout', path);
    const der = new Uint8Array(readFileSync(path));
    const ours = encodeCertificateId({ hash, issuer, serial: serialToHex(serial) });
    expect(parseOcspRequest(der)).toMatchObject({ certificateIds: [{ hash, serial: serialToHex(serial), der: ours }], nonce: undefined });
    expect(encodeOcspRequest({ certificateIds: [ours] })).toEqual(der);
  });
  it('of OpenSSL about two certificates, with a nonce and a signature, is read', () => {
    const path = file('signed.der', '');
    const key = file('key.pem', ca.key.export({ type: 'pkcs8', format: 'pem' }));
    openssl('ocsp', '-issuer', caFile, '-cert', leafFile, '-serial', '0x2a', '-nonce', '-signer', caFile, '-signkey', key, '-reqout', path);
    const { certificateIds, nonce } = parseOcspRequest(new Uint8Array(readFileSync(path)));
    expect(certificateIds.map((each) => each.serial)).toEqual([serialToHex(serial), '2a']);
    expect(nonce).toHaveLength(16);
  });
  it.skipIf(!hasOcsptool)('of GnuTLS is read', () => {
    const path = file('gnutls.der', '');
    expect(spawnSync('ocsptool', ['--generate-request', '--load-issuer', caFile, '--load-cert', leafFile, '--outfile', path]).status).toBe(0);
    const { certificateIds } = parseOcspRequest(new Uint8Array(readFileSync(path)));
    expect(certificateIds).toMatchObject([{ serial: serialToHex(serial), issuerKeyHash: parseOcspRequest(encodeOcspRequest({ certificateIds: [id] })).certificateIds[0]?.issuerKeyHash }]);
  });
  it('comes back as it was written', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom('sha1', 'sha256'), fc.bigInt(1n, 2n ** 152n - 1n)), { minLength: 1, maxLength: 8 }), fc.option(fc.uint8Array({ minLength: 1, maxLength: 128 }), { nil: undefined }), (asked, nonce) => {
        const ids = asked.map(([hash, number]) => encodeCertificateId({ hash: hash as 'sha1' | 'sha256', issuer, serial: hexOf(number) }));
        const read = parseOcspRequest(encodeOcspRequest({ certificateIds: ids, nonce }));
        expect(read.certificateIds.map(({ der }) => der)).toEqual(ids);
        expect(read.certificateIds.map((each) => [each.hash, each.serial])).toEqual(asked.map(([hash, number]) => [hash, hexOf(number)]));
        expect(read.nonce).toEqual(nonce);
      }),
      { numRuns: 100 },
    );
  });
  it('is refused as malformed, and in no other way, whatever octets come', () => {
    const valid = encodeOcspRequest({ certificateIds: [id, id], nonce: new Uint8Array(16) });
    const mutated = fc.tuple(fc.nat(valid.length - 1), fc.nat(255), fc.nat(valid.length)).map(([at, value, end]) => {
      const copy = valid.slice(0, end === 0 ? undefined : end);
      copy[at % copy.length] = value;
      return copy;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 400 }), mutated), (octets) => {
        expect(['accepted', 'ERR_OCSP_INVALID']).toContain(refusal(() => parseOcspRequest(octets)).code);
      }),
      { numRuns: 200 },
    );
  });
  it.each<[string, Uint8Array, boolean]>([
    ['eight certificates', encodeOcspRequest({ certificateIds: Array.from({ length: 8 }, () => id) }), true],
    ['nine certificates', encodeOcspRequest({ certificateIds: Array.from({ length: 9 }, () => id) }), false],
    ['no certificate', requestOf(new Uint8Array(0)), false],
    ['a nonce of one octet', encodeOcspRequest({ certificateIds: [id], nonce: new Uint8Array(1) }), true],
    ['a nonce of 128 octets', encodeOcspRequest({ certificateIds: [id], nonce: new Uint8Array(128) }), true],
    ['an empty nonce', requestOf(sequence(id), noncesOf(octetString())), false],
    ['a nonce of 129 octets', requestOf(sequence(id), noncesOf(octetString(new Uint8Array(129)))), false],
    ['a nonce without its own header', requestOf(sequence(id), noncesOf(new Uint8Array(16))), false],
    ['an unknown extension', requestOf(sequence(id), explicit(2, sequence(encodeExtension('1.2.3', 'nonCritical', nullValue())))), true],
    ['an unknown critical extension', requestOf(sequence(id), explicit(2, sequence(encodeExtension('1.2.3', 'critical', nullValue())))), false],
    ['a critical nonce', requestOf(sequence(id), explicit(2, sequence(encodeExtension('1.3.6.1.5.5.7.48.1.2', 'critical', octetString(Uint8Array.of(1)))))), true],
    ['an unknown extension of one certificate', requestOf(sequence(id, explicit(0, sequence(encodeExtension('1.2.3', 'nonCritical', nullValue()))))), true],
    ['an unknown critical extension of one certificate', requestOf(sequence(id, explicit(0, sequence(encodeExtension('1.2.3', 'critical', nullValue()))))), false],
    ['two extensions of one kind', requestOf(sequence(id), explicit(2, sequence(encodeExtension('1.2.3', 'nonCritical', nullValue()), encodeExtension('1.2.3', 'nonCritical', nullValue())))), false],
    ['a version that is written down', sequence(sequence(explicit(0, integer(0)), sequence(sequence(id)))), false],
    ['the name of who asks', sequence(sequence(explicit(1, element(0x86, Buffer.from('http://a'))), sequence(sequence(id)))), true],
    ['a serial of zero', requestOf(idOf({ serial: integer(0) })), false],
    ['a negative serial', requestOf(idOf({ serial: element(2, Uint8Array.of(0x80)) })), false],
    ['a serial of 20 octets', requestOf(idOf({ serial: integer(new Uint8Array(20).fill(0xff)) })), true],
    ['a serial of 21 octets', requestOf(idOf({ serial: integer(new Uint8Array(21).fill(1)) })), false],
    ['a hash without parameters', requestOf(idOf({})), true],
    ['a hash with parameters', requestOf(idOf({ hash: sequence(oid('1.3.14.3.2.26'), boolean(true)) })), false],
    ['a hash nobody compares', requestOf(idOf({ hash: sequence(oid('2.16.840.1.101.3.4.2.3')), name: new Uint8Array(64), key: new Uint8Array(64) })), true],
    ['hashes of two lengths', requestOf(idOf({ name: new Uint8Array(32) })), false],
    ['a SHA-1 of 32 octets', requestOf(idOf({ name: new Uint8Array(32), key: new Uint8Array(32) })), false],
    ['an octet after it', Uint8Array.of(...encodeOcspRequest({ certificateIds: [id] }), 0), false],
    ['4,096 octets', paddedTo(4_096), true],
    ['4,097 octets', paddedTo(4_097), false],
    ['half a signature', sequence(sequence(sequence(sequence(id))), explicit(0, sequence(sequence(oid('1.2.3'))))), false],
  ])('with %s is taken or refused as it should be', (_name, der, taken) => {
    expect(refusal(() => parseOcspRequest(der)).code).toBe(taken ? 'accepted' : 'ERR_OCSP_INVALID');
  });
});

describe('an OCSP response', () => {
  const respond = (statuses: readonly OcspCertificateStatus[], options: { nonce?: Uint8Array; responder?: OcspResponderId } = {}) => {
    const data = encodeOcspResponseData({
      responder: options.responder ?? { spki: issuer.spki },
      producedAt: NOW,
      thisUpdate: NOW,
      nextUpdate: new Date(NOW.getTime() + DAY),
      statuses: statuses.map((status) => ({ certificateId: id, status })),
      nonce: options.nonce,
    });
    return assembleOcspResponse(data, { algorithm: ca.signatureAlgorithm, signature: signWith(ca.key, data), certificates: [issuer.der] });
  };
  const revoked: OcspCertificateStatus = { status: 'revoked', revokedAt: new Date('2026-11-20T08:07:06Z'), reason: 'keyCompromise' };

  it('comes back as it was written', () => {
    const statuses: readonly OcspCertificateStatus[] = [{ status: 'good' }, revoked, { status: 'revoked', revokedAt: NOW, reason: 'unspecified' }, { status: 'unknown' }];
    for (const responder of [{ spki: issuer.spki }, { nameDer: issuer.subjectNameDer }] as const) {
      const read = parseOcspResponse(respond(statuses, { nonce: Uint8Array.of(7), responder }));
      expect(read).toMatchObject({
        status: 'successful',
        producedAt: NOW,
        nonce: Uint8Array.of(7),
        certificates: [issuer.der],
        responses: statuses.map((status) => ({ status, thisUpdate: NOW, nextUpdate: new Date(NOW.getTime() + DAY), certificateId: { der: id } })),
        responder: 'spki' in responder ? { keyHash: parseOcspRequest(encodeOcspRequest({ certificateIds: [id] })).certificateIds[0]?.issuerKeyHash } : responder,
      });
    }
  });
  it('is what OpenSSL reads, time in GeneralizedTime and no reason where there is none', () => {
    const path = file('response.der', respond([revoked], { nonce: Uint8Array.of(1, 2) }));
    const text = openssl('ocsp', '-respin', path, '-noverify', '-resp_text');
    for (const part of ['Response Status: successful', 'Revocation Reason: keyCompromise', 'Revocation Time: Nov 20 08:07:06 2026 GMT', 'This Update: Nov 21 12:00:00 2026 GMT', 'Next Update: Nov 22 12:00:00 2026 GMT', 'OCSP Nonce']) expect(text).toContain(part);
    const without = openssl('ocsp', '-respin', file('without.der', respond([{ ...revoked, reason: 'unspecified' }])), '-noverify', '-resp_text');
    expect(without).toContain('Cert Status: revoked');
    expect(without).not.toContain('Revocation Reason');
  });
  it.each<OcspError>(['malformedRequest', 'internalError', 'tryLater', 'sigRequired', 'unauthorized'])('may be the error %s', (status) => {
    expect(parseOcspResponse(encodeOcspError(status))).toEqual({ status });
  });
  it.each<[string, Uint8Array]>([
    ['an unknown error', sequence(element(0x0a, Uint8Array.of(4)))],
    ['an error beyond the last', sequence(element(0x0a, Uint8Array.of(7)))],
    ['success without a response', sequence(element(0x0a, Uint8Array.of(0)))],
    ['an error with a response', sequence(element(0x0a, Uint8Array.of(1)), explicit(0, sequence(oid('1.2.3'), octetString())))],
    ['a response of another type', sequence(element(0x0a, Uint8Array.of(0)), explicit(0, sequence(oid('1.2.3'), octetString())))],
    ['a status of another kind', assembleOcspResponse(sequence(explicit(2, octetString(new Uint8Array(20))), element(0x18, Buffer.from('20261121120000Z')), sequence(sequence(id, implicit(3, nullValue()), element(0x18, Buffer.from('20261121120000Z'))))), { algorithm: ca.signatureAlgorithm, signature: new Uint8Array(8), certificates: [] })],
    ['UTCTime', assembleOcspResponse(sequence(explicit(2, octetString(new Uint8Array(20))), element(0x17, Buffer.from('261121120000Z')), sequence(sequence(id, implicit(0, nullValue()), element(0x18, Buffer.from('20261121120000Z'))))), { algorithm: ca.signatureAlgorithm, signature: new Uint8Array(8), certificates: [] })],
  ])('is refused with %s', (_name, der) => {
    expect(refusal(() => parseOcspResponse(der)).code).toBe('ERR_OCSP_INVALID');
  });
  it('is refused as malformed, and in no other way, whatever octets come', () => {
    const valid = respond([{ status: 'good' }, revoked]);
    fc.assert(
      fc.property(fc.nat(valid.length - 1), fc.nat(255), (at, value) => {
        const copy = valid.slice();
        copy[at] = value;
        expect(['accepted', 'ERR_OCSP_INVALID']).toContain(refusal(() => parseOcspResponse(copy)).code);
      }),
      { numRuns: 200 },
    );
  });
});

const hexOf = (value: bigint): string => {
  const text = value.toString(16);
  return text.length % 2 === 0 ? text : `0${text}`;
};
