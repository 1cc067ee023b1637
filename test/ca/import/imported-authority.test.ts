import { describe, expect, it } from 'vitest';
import { CaError } from '../../../ca/errors.ts';
import { authorityKeyOf, importedPath, importedRoot, mayCertifyAuthorities } from '../../../ca/import/imported-authority.ts';
import type { Certificate } from '../../../ca/x509/certificate.ts';
import { EXTENDED_KEY_USAGE } from '../../../ca/x509/extension.ts';
import { foreignAuthority } from '../../support/foreign-authority.ts';

const at = new Date('2026-11-21T12:00:00Z');

const make = foreignAuthority;

const refusal = (work: () => unknown): string => {
  try {
    work();
    return 'accepted';
  } catch (error) {
    if (error instanceof CaError) return `${error.code} ${error.message}`;
    throw error;
  }
};

const root = make('Enterprise Root', undefined);
const policy = make('Policy CA', root);
const issuing = make('Agents CA', policy);
const path = (certificate: Certificate, intermediates: readonly Certificate[] = [policy.certificate], anchor = root.certificate) => importedPath(certificate, { root: anchor, intermediates }, at);

describe('a root from elsewhere', () => {
  it('is accepted without pathLen, with an 8-octet serial and a third usage, and all of it is told', () => {
    const remarks = importedRoot(root.certificate, at).map(({ text }) => text);
    expect(remarks).toEqual([
      'the serial is not 19 positive octets (RFC 5280 §4.1.2.2)',
      'not derived from the key (RFC 5280 §4.2.1.2)',
      expect.stringContaining('key identifier (RFC 5280 §4.2.1.1)'),
      'pathLen is absent (RFC 5280 §4.2.1.9)',
      'keyUsage is not exactly keyCertSign and cRLSign (RFC 5280 §4.2.1.3)',
    ]);
  });

  it.each([
    ['that another signed', () => policy, /it is not self-signed/],
    ['that has expired', () => make('Old Root', undefined, { notAfter: new Date('2026-11-21T11:59:58Z') }), /it was valid until 2026-11-21T11:59:58Z \(RFC 5280 §6\.1\.3 \(a\)\(2\)\)/],
    ['that may not sign CRLs', () => make('Root', undefined, { keyUsage: ['keyCertSign'] }), /keyUsage does not name keyCertSign and cRLSign/],
    ['that says nothing of its key', () => make('Root', undefined, { keyUsage: [] }), /keyUsage does not name/],
    ['that is no CA', () => make('Root', undefined, { ca: false, keyUsage: ['digitalSignature'] }), /it is not a CA/],
  ])('is refused: one %s', (_name, make1, words) => {
    const message = refusal(() => importedRoot(make1().certificate, at));
    expect(message).toMatch(/^ERR_CA_IMPORT CN=/);
    expect(message).toMatch(words);
  });

  it('is valid to the second that its certificate names', () => {
    expect(importedRoot(make('Root', undefined, { notAfter: new Date('2026-11-21T12:00:00Z') }).certificate, at)).not.toEqual([]);
  });
});

describe('an issuing CA from elsewhere', () => {
  it('leads to its root by way of what lies between, whatever the order it came in', () => {
    const stranger = make('Stranger', undefined);
    const found = path(issuing.certificate, [stranger.certificate, root.certificate, policy.certificate]);
    expect(found.path.map(({ thumbprint }) => thumbprint)).toEqual([issuing.certificate.thumbprint, policy.certificate.thumbprint]);
    expect(found.root).toBe(root.certificate);
    expect(found.remarks.length).toBeGreaterThan(0);
  });

  it('is refused without what lies between, and under another root', () => {
    expect(refusal(() => path(issuing.certificate, []))).toMatch(/^ERR_CA_IMPORT CN=Agents CA.*; give the certificates between it and the root with --chain$/);
    expect(refusal(() => path(issuing.certificate, [policy.certificate], make('Enterprise Root', undefined).certificate))).toMatch(/^ERR_CA_IMPORT /);
  });

  it('is refused when it is the root itself', () => {
    expect(refusal(() => path(root.certificate))).toMatch(/it is the root itself/);
  });

  it('may be bounded by a pathLen of 0 itself, but not above it', () => {
    expect(path(make('Agents CA', policy, { pathLen: 0 }).certificate).path).toHaveLength(2);
    const short = make('Policy CA', root, { pathLen: 0 });
    expect(refusal(() => path(make('Agents CA', short).certificate, [short.certificate]))).toMatch(/pathLen/);
  });

  it('is refused with an extendedKeyUsage that leaves agents or servers out, and taken with both', () => {
    const bounded = (...usages: string[]) => make('Agents CA', policy, { extendedKeyUsage: usages }).certificate;
    expect(refusal(() => path(bounded(EXTENDED_KEY_USAGE.serverAuth)))).toMatch(/extendedKeyUsage does not name clientAuth, which/);
    expect(path(bounded(EXTENDED_KEY_USAGE.serverAuth, EXTENDED_KEY_USAGE.clientAuth)).path).toHaveLength(2);
    expect(path(bounded('2.5.29.37.0')).path).toHaveLength(2);
  });

  it('is found its key among several, and refused without', () => {
    expect(authorityKeyOf(issuing.certificate, [root.key, issuing.key])).toBe(issuing.key);
    expect(refusal(() => authorityKeyOf(issuing.certificate, [root.key]))).toMatch(/none of the private keys is its own/);
    expect(refusal(() => authorityKeyOf(issuing.certificate, []))).toMatch(/no private key came with it/);
  });

  it('may certify another CA only where its pathLen leaves room', () => {
    expect([undefined, 1, 0].map((pathLen) => mayCertifyAuthorities({ basicConstraints: pathLen === undefined ? { ca: true, pathLen: undefined } : { ca: true, pathLen } }))).toEqual([true, true, false]);
  });
});
