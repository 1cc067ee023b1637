/** NIST's Public Key Interoperability Test Suite 1.0.1: what we claim to support passes, and everything else is refused. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { CaError } from '../../ca/errors.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { statusFromCrls } from '../../ca/x509/path/crl-status.ts';
import { verifyPath } from '../../ca/x509/path/verify-path.ts';
import type { PathVerdict } from '../../ca/x509/path/verdict.ts';

const folder = fileURLToPath(new URL('../../../shared/vectors/pkits/', import.meta.url));
const present = existsSync(folder);
if (!present) console.warn('skipped: the NIST PKITS vectors are not beside this repository (../shared/vectors/pkits)');

const AT = new Date('2026-11-01T00:00:00Z');

interface Case {
  readonly num: string;
  /** The trust anchor first, the end entity last. */
  readonly certs: readonly string[];
  readonly crls: readonly string[];
  readonly ok: boolean;
  /** Policy settings, as Go and C++ source wrote them. */
  readonly extra: Readonly<Record<string, string>>;
}

/** Tests that expect success and get a refusal, because they need something that we do not claim. */
const NOT_CLAIMED: Readonly<Record<string, readonly [code: string, why: string]>> = {
  '4.1.4': ['ERR_PATH_ALGORITHM', 'DSA'],
  '4.1.5': ['ERR_PATH_ALGORITHM', 'DSA, with parameters inherited from the issuer'],
  '4.4.14': ['ERR_PATH_STATUS_UNKNOWN', 'a negative serial in the CRL'],
  ...Object.fromEntries(
    ['4.4.19', '4.5.1', '4.5.3', '4.5.4', '4.5.6', '4.6.15', '4.6.17', '4.9.6', '4.11.7', '4.12.7', '4.12.9', '4.13.19'].map((num) => [num, ['ERR_PATH_STATUS_UNKNOWN', 'a CRL signed with another key than the certificate']] as const),
  ),
  ...Object.fromEntries(['4.14.1', '4.14.4', '4.14.5', '4.14.7'].map((num) => [num, ['ERR_PATH_STATUS_UNKNOWN', 'a distribution point that is a directory name']] as const)),
  ...Object.fromEntries(['4.14.18', '4.14.19'].map((num) => [num, ['ERR_PATH_STATUS_UNKNOWN', 'CRLs for some reasons only']] as const)),
  ...Object.fromEntries(['4.14.22', '4.14.24', '4.14.25', '4.14.28', '4.14.29', '4.14.30', '4.14.33'].map((num) => [num, ['ERR_PATH_STATUS_UNKNOWN', 'indirect CRLs and a cRLIssuer']] as const)),
};

/** Why those that must fail do; by section where one code is the rule. */
const REASONS: readonly (readonly [prefix: string, code: string])[] = [
  ['4.1.2', 'ERR_CERTIFICATE_INVALID'], // a signature of no whole octets
  ['4.1.3', 'ERR_PATH_SIGNATURE'],
  ['4.1.6', 'ERR_CERTIFICATE_INVALID'],
  ['4.2.1', 'ERR_PATH_NOT_YET_VALID'],
  ['4.2.2', 'ERR_PATH_NOT_YET_VALID'],
  ['4.2.', 'ERR_PATH_EXPIRED'],
  ['4.3.', 'ERR_PATH_INCOMPLETE'],
  ['4.4.2', 'ERR_PATH_REVOKED'],
  ['4.4.3', 'ERR_PATH_REVOKED'],
  ['4.4.15', 'ERR_CERTIFICATE_INVALID'], // a negative serial
  ['4.4.18', 'ERR_PATH_REVOKED'],
  ['4.4.', 'ERR_PATH_STATUS_UNKNOWN'],
  ['4.5.8', 'ERR_PATH_AUTHORITY'],
  ['4.5.', 'ERR_PATH_STATUS_UNKNOWN'], // a CRL signed with another key
  ['4.6.1', 'ERR_PATH_AUTHORITY'],
  ['4.6.2', 'ERR_PATH_AUTHORITY'],
  ['4.6.3', 'ERR_PATH_AUTHORITY'],
  ['4.6.', 'ERR_PATH_LENGTH'],
  ['4.7.1', 'ERR_PATH_AUTHORITY'],
  ['4.7.2', 'ERR_PATH_AUTHORITY'],
  ['4.7.', 'ERR_PATH_STATUS_UNKNOWN'],
  ['4.8.', 'ERR_PATH_POLICY'],
  ['4.9.', 'ERR_PATH_POLICY'],
  ['4.10.', 'ERR_PATH_POLICY'],
  ['4.11.', 'ERR_PATH_POLICY'],
  ['4.12.', 'ERR_PATH_POLICY'],
  ['4.13.', 'ERR_PATH_NAME'],
  ['4.14.', 'ERR_PATH_STATUS_UNKNOWN'],
  ['4.15.1', 'ERR_PATH_STATUS_UNKNOWN'], // without a complete CRL, and 4.15.10 with an old one
  ['4.15.', 'ERR_PATH_REVOKED'],
  ['4.16.', 'ERR_PATH_EXTENSION'],
];

const reasonOf = (num: string): string | undefined => {
  const fitting = REASONS.filter(([prefix]) => (prefix.endsWith('.') ? num.startsWith(prefix) : num === prefix));
  // 4.15.10 is the one number that begins like another.
  return num === '4.15.10' ? 'ERR_PATH_STATUS_UNKNOWN' : fitting[0]?.[1];
};

const bytes = new Map<string, Uint8Array>();
const read = (file: string): Uint8Array => {
  const known = bytes.get(file) ?? readFileSync(`${folder}${file}`);
  bytes.set(file, known);
  return known;
};

const policyOf = (name: string): string => (name === 'anyPolicy' ? '2.5.29.32.0' : `2.16.840.1.101.3.2.1.48.${name.slice('NIST-test-policy-'.length)}`);
const policiesIn = (text: string): readonly string[] => {
  const [, names = ''] = /"(.*)"/.exec(text) ?? [];
  return names === '' ? [] : names.split(',').map(policyOf);
};

/** The verdict; undefined for a certificate that is not even read. */
function verdictOf({ certs, crls, extra }: Case, onUnknownStatus: 'deny' | 'allow' = 'deny'): PathVerdict | undefined {
  try {
    const [anchor, ...rest] = certs.map((name) => parseCertificate(read(`certs/${name}.crt`)));
    const target = rest.pop();
    if (anchor === undefined || target === undefined) throw new Error('vector without an anchor or a certificate');
    const usable = crls.flatMap((name) => {
      try {
        return [parseCrl(read(`crls/${name}.crl`))];
      } catch (error) {
        if (error instanceof CaError && error.code === 'ERR_CRL_INVALID') return [];
        throw error;
      }
    });
    return verifyPath(target, {
      anchors: [anchor],
      intermediates: rest,
      at: AT,
      purpose: 'any',
      status: statusFromCrls(usable, { at: AT }),
      onUnknownStatus,
      policy: {
        ...(extra['SetInitialPolicySet'] === undefined ? {} : { initialPolicySet: policiesIn(extra['SetInitialPolicySet']) }),
        explicitPolicy: extra['SetInitialExplicitPolicy'] === undefined ? 'optional' : 'required',
        policyMapping: extra['SetInitialPolicyMappingInhibit'] === undefined ? 'allowed' : 'inhibited',
        anyPolicy: extra['SetInitialInhibitAnyPolicy'] === undefined ? 'allowed' : 'inhibited',
      },
    });
  } catch (error) {
    if (error instanceof CaError && error.code === 'ERR_CERTIFICATE_INVALID') return undefined;
    throw error;
  }
}

const word = (verdict: PathVerdict | undefined): string => (verdict === undefined ? 'ERR_CERTIFICATE_INVALID' : verdict.ok ? 'ok' : verdict.code);

describe.skipIf(!present)('NIST PKITS', () => {
  const cases = present ? (JSON.parse(readFileSync(`${folder}pkits.json`, 'utf8')) as readonly Case[]) : [];
  const titled = cases.map((one): readonly [string, Case] => [`${one.num} ${one.certs.at(-1) ?? ''} ${Object.entries(one.extra).map(([key, value]) => `${key} ${value.slice(0, -1)}`).join(' ')}`.trim(), one]);

  test('all 247 cases are here, and those that are not claimed among them', () => {
    expect(cases).toHaveLength(247);
    expect(Object.keys(NOT_CLAIMED).filter((num) => !cases.some((one) => one.num === num && one.ok))).toEqual([]);
  });

  test.each(titled)('%s', (_title, one) => {
    const verdict = verdictOf(one);
    const [code] = NOT_CLAIMED[one.num] ?? [];
    expect(word(verdict)).toBe(one.ok ? (code ?? 'ok') : reasonOf(one.num));
    const wanted = one.extra['SetUserConstrainedPolicySet'];
    if (verdict?.ok === true && wanted !== undefined) expect(verdict.policies.toSorted()).toEqual(policiesIn(wanted).toSorted());
  });

  test.each(titled.filter(([, one]) => NOT_CLAIMED[one.num]?.[0] === 'ERR_PATH_STATUS_UNKNOWN'))('%s: the path itself is valid where an unknown status is let pass', (_title, one) => {
    expect(word(verdictOf(one, 'allow'))).toBe('ok');
  });
});
