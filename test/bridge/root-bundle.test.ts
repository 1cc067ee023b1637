import { X509Certificate } from 'node:crypto';
import { beforeAll, describe, expect, it } from 'vitest';
import { createHierarchy } from '../../ca/hierarchy.ts';
import type { Hierarchy } from '../../ca/issuer.ts';
import { activate, prepare } from '../../ca/rotation.ts';
import type { RotationWorld } from '../../ca/rotation.ts';
import { rootsAfter } from '../../src/bridge/root-bundle.ts';
import { systemClock as clock, systemRandomness as randomness } from '../../src/system.ts';

/** Three generations of roots, each certified by the one before. */
let third: Hierarchy;
let foreign: Hierarchy;
const world = { clock, randomness, trustDomain: 'acme.internal', store: { recordIntent: async () => undefined, recordEvent: async () => undefined, findCertificates: async () => [] } } as unknown as RotationWorld;
beforeAll(async () => {
  third = await createHierarchy({ name: 'Acme', trustDomain: 'acme.internal', clock, randomness });
  for (const name of ['root-2', 'root-3']) third = (await activate((await prepare(third, { role: 'root' }, world)).next, name, { settling: 'waived' }, world)).next;
  // Of the same name: names prove nothing.
  foreign = await createHierarchy({ name: 'Acme', trustDomain: 'acme.internal', clock, randomness });
});

const pemOf = (...names: readonly string[]): string => [...third.issuers, ...third.crossCertificates].filter(({ name }) => names.includes(name)).map(({ pem }) => pem).join('');
const known = (...names: readonly string[]): readonly X509Certificate[] => names.map((name) => new X509Certificate(pemOf(name)));
const thumbprints = (roots: readonly X509Certificate[]): readonly string[] => roots.map(({ fingerprint256 }) => fingerprint256);
const after = (answer: { readonly ca: string; readonly crossCertificates?: string }, have: readonly X509Certificate[], now = clock.now()) => thumbprints(rootsAfter(answer, have, now));
const all = (): string => third.crossCertificates.map(({ pem }) => pem).join('');

describe('a root that is new to an identity', () => {
  it('is taken with the signature of one it knows, directly or by way of those between', () => {
    expect(after({ ca: pemOf('root', 'root-2'), crossCertificates: all() }, known('root'))).toEqual(thumbprints(known('root', 'root-2')));
    expect(after({ ca: pemOf('root-2', 'root-3'), crossCertificates: all() }, known('root-2'))).toEqual(thumbprints(known('root-2', 'root-3')));
    expect(after({ ca: pemOf('root-3', 'root', 'root-2'), crossCertificates: all() }, known('root'))).toHaveLength(3);
    expect(after({ ca: pemOf('root-2'), crossCertificates: all() }, known('root'))).toEqual(thumbprints(known('root-2')));
  });

  it('is not taken on the word of the gateway alone', () => {
    expect(after({ ca: pemOf('root', 'root-2') }, known('root'))).toEqual(thumbprints(known('root')));
    expect(after({ ca: pemOf('root') + foreign.root.pem, crossCertificates: all() }, known('root'))).toEqual(thumbprints(known('root')));
    expect(after({ ca: foreign.root.pem, crossCertificates: all() }, known('root'))).toEqual(thumbprints(known('root')));
    // The signature of a root that vouches for another key, of one nobody knows, or of an issuing CA.
    expect(after({ ca: pemOf('root', 'root-3'), crossCertificates: pemOf('root-2-by-root') }, known('root'))).toEqual(thumbprints(known('root')));
    expect(after({ ca: pemOf('root-3'), crossCertificates: pemOf('root-3-by-root-2') }, known('root'))).toEqual(thumbprints(known('root')));
    expect(after({ ca: pemOf('root', 'issuing-2'), crossCertificates: pemOf('issuing-2-by-root') }, known('root'))).toEqual(thumbprints(known('root')));
  });

  it('is not taken before or after its time, nor out of what cannot be read', () => {
    const late = new Date(Date.now() + 21 * 365.25 * 86_400_000);
    expect(after({ ca: pemOf('root', 'root-2'), crossCertificates: all() }, known('root'), late)).toEqual(thumbprints(known('root')));
    expect(after({ ca: 'garbage', crossCertificates: 'garbage' }, known('root'))).toEqual(thumbprints(known('root')));
    expect(after({ ca: `${pemOf('root', 'root-2')}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`, crossCertificates: all() }, known('root'))).toEqual(thumbprints(known('root')));
  });
});

it('a root that the answer no longer names is given up', () => {
  expect(after({ ca: pemOf('root-2'), crossCertificates: all() }, known('root', 'root-2'))).toEqual(thumbprints(known('root-2')));
});
