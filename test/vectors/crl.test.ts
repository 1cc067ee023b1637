/** 66 CRLs of BoringSSL's crl_unittest, each judged as the name of its file says. */
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { checkCrlCovers, parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import { decodePem } from '../../ca/x509/pem.ts';

const folder = fileURLToPath(new URL('../../../shared/vectors/crl/', import.meta.url));
const present = existsSync(folder);
if (!present) console.warn('skipped: the BoringSSL CRL vectors are not beside this repository (../shared/vectors/crl)');

const at = new Date('2017-03-09T00:00:00Z');
const maxAgeMs = 7 * 86_400_000;

/** `good`, `revoked`, or the code it was refused with. */
function judge(pem: string): string {
  const blocks = decodePem(pem);
  const only = (label: string) => blocks.filter((block) => block.label === label).map((block) => block.der);
  const [crlDer] = only('CRL');
  const [leafDer] = only('CERTIFICATE');
  if (crlDer === undefined || leafDer === undefined) throw new Error('vector without a CRL or a leaf');
  const leaf = parseCertificate(leafDer);
  // With a key rollover the CRL may be signed by the other key of the same name.
  const issuers = [...only('CA CERTIFICATE'), ...only('CA CERTIFICATE 2')].map((der) => parseCertificate(der));
  let refused: unknown;
  for (const issuer of issuers) {
    try {
      const crl = parseCrl(crlDer);
      verifyCrl(crl, issuer, { at, maxAgeMs });
      checkCrlCovers(crl, leaf);
      return crl.find(leaf.serial) === undefined ? 'good' : 'revoked';
    } catch (error) {
      refused = error;
    }
  }
  if (!(refused instanceof CaError)) throw refused;
  return refused.code;
}

/** The reason each unusable CRL is refused with. Everything that is not listed is malformed. */
const REASONS: Readonly<Record<string, string>> = {
  bad_crldp_has_crlissuer: 'ERR_CRL_SCOPE',
  bad_idp_contains_wrong_uri: 'ERR_CRL_SCOPE',
  bad_idp_indirectcrl: 'ERR_CRL_SCOPE',
  bad_idp_onlycontainscacerts: 'ERR_CRL_SCOPE',
  bad_idp_onlycontainscacerts_no_basic_constraints: 'ERR_CRL_SCOPE',
  bad_idp_onlycontainsusercerts: 'ERR_CRL_SCOPE',
  bad_idp_uri_and_onlycontainscacerts: 'ERR_CRL_SCOPE',
  bad_idp_uri_and_onlycontainsusercerts: 'ERR_CRL_SCOPE',
  bad_key_rollover_signature: 'ERR_CRL_SIGNATURE',
  bad_nextupdate_too_old: 'ERR_CRL_STALE',
  bad_signature: 'ERR_CRL_SIGNATURE',
  bad_thisupdate_in_future: 'ERR_CRL_STALE',
  bad_thisupdate_too_old: 'ERR_CRL_STALE',
  bad_wrong_issuer: 'ERR_CRL_ISSUER',
  invalid_idp_onlycontainsusercerts_v1_leaf: 'ERR_CRL_SCOPE',
  invalid_issuer_keyusage_no_crlsign: 'ERR_CRL_ISSUER',
  invalid_key_rollover_issuer_keyusage_no_crlsign: 'ERR_CRL_ISSUER',
};

describe.skipIf(!present)('BoringSSL CRL vectors', () => {
  const names = present ? readdirSync(folder).filter((name) => name.endsWith('.pem')).map((name) => name.slice(0, -4)) : [];

  test('all 66 cases are here', () => {
    expect(names).toHaveLength(66);
  });

  test.each(names)('%s', (name) => {
    const verdict = judge(readFileSync(`${folder}${name}.pem`, 'latin1'));
    if (name.startsWith('good')) expect(verdict).toBe('good');
    else if (name.startsWith('revoked')) expect(verdict).toBe('revoked');
    else expect(verdict).toBe(REASONS[name] ?? 'ERR_CRL_INVALID');
  });
});
