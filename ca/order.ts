/** From a decided order to a certificate on record: the octets to be signed, the intent, and what the caller gets. */
import type { KeyObject } from 'node:crypto';
import { issueDurably } from './durable-issuance.ts';
import type { IssuanceWorld } from './durable-issuance.ts';
import type { IssuerSeries } from './crl-series.ts';
import { CaError } from './errors.ts';
import { publishedAt } from './hierarchy.ts';
import { boundsOf, isRootAlone, pathAbove, rootsPem } from './issuer.ts';
import type { Hierarchy, Issuer } from './issuer.ts';
import { checkNameBounds } from './name-bounds.ts';
import { endEntityTbs, spkiHashOf, validityOf } from './issuance.ts';
import type { Granted } from './issuance.ts';
import type { CertificateIntent, Clock, Randomness, SerialHex } from './ports.ts';
import type { Profile } from './profile.ts';
import type { CertificateKey, IssuedCertificate } from './requests.ts';
import { parseCertificate } from './x509/certificate.ts';
import { formatName, nameAttributes } from './x509/name.ts';
import { encodePem } from './x509/pem.ts';
import { generateSerial, serialToHex } from './x509/serial.ts';

/** What is to be certified, decided but not yet signed. */
export interface Order {
  readonly agent: string;
  readonly granted: Granted;
  readonly profile: Profile;
  readonly ttlSeconds: number;
  readonly spki: Uint8Array;
  readonly issuer: Issuer;
  readonly replaces: SerialHex | undefined;
  readonly presented?: CertificateKey & { readonly expired?: boolean };
  /** Reserved before; drawn when absent. */
  readonly serial?: SerialHex;
  readonly revokedIdentity: { readonly wordGivenAt: Date } | 'ignore';
  readonly actor: string;
}

export interface OrderWorld {
  readonly hierarchy: Hierarchy;
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly issuance: IssuanceWorld;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly publicUrl: string | undefined;
  /** Says which CRL a certificate names. */
  readonly seriesOf: (issuer: Issuer) => IssuerSeries;
  /** Whether OCSP answers are given, so that certificates say where. */
  readonly ocsp: boolean;
  /** Live certificates of one agent. */
  readonly maxLive: number;
  /** When the key was made here. */
  readonly privateKey: KeyObject | undefined;
}

/** @throws CaError */
export const fillOrder = async (order: Order, world: OrderWorld): Promise<IssuedCertificate> => {
  const { clock, randomness, publicUrl, seriesOf, privateKey, hierarchy, profiles, issuance, maxLive, ocsp } = world;
  const { issuer, profile, granted, spki, agent } = order;
  if (isRootAlone(hierarchy)) throw new CaError('ERR_CA_MISSING', 'this data directory holds a root alone; issue where its issuing CA is');
  const now = clock.now();
  const validity = validityOf(now, profile, order.ttlSeconds, issuer.certificate);
  const serial = order.serial === undefined ? generateSerial(randomness) : Buffer.from(order.serial, 'hex');
  const signer = issuer.signer;
  if (signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of the ${issuer.name} CA is not here; issue where the key is kept`);
  const series = seriesOf(issuer);
  // Nobody asks for the status of who signs answers about status.
  if (profile.kind !== 'ocsp') await series.cover(validity.notAfter, publicUrl !== undefined && profile.status === 'crl' ? 'named' : 'unnamed');
  const tbs = endEntityTbs({ serial, issuer: issuer.certificate, issuerAlgorithm: signer.algorithm, profile, granted, spki, validity, publishedAt: publishedAt(publicUrl, issuer, { ocsp, crl: series.pathOf(serialToHex(serial)) }) });
  checkNameBounds(tbs, boundsOf(hierarchy, issuer));
  const intent: CertificateIntent = {
    issuerId: issuer.id,
    serial: serialToHex(serial),
    tbs,
    agent,
    profile: profile.name,
    subject: formatName(granted.subject),
    commonName: nameAttributes(granted.subject, 'CN')[0] ?? '',
    organizationalUnits: nameAttributes(granted.subject, 'OU'),
    uri: granted.uris[0],
    dnsNames: granted.dnsNames,
    spkiHash: spkiHashOf(spki),
    ...validity,
    createdAt: now,
    replaces: order.replaces,
  };
  const certificate = await issueDurably(issuance, {
    issuer,
    intent,
    admission: {
      kind: profile.kind,
      kindOf: (name) => profiles.get(name)?.kind,
      maxLive,
      revokedIdentity: order.revokedIdentity,
      ...(order.presented === undefined ? {} : { presented: order.presented }),
    },
    lint: { issuer: issuer.certificate, profile, granted },
    actor: order.actor,
  });
  return { ...answerOf(intent, certificate.der, { hierarchy, issuer }), privateKey };
};

/** What the caller gets for a certificate on record, when it is issued and whenever it is asked for again. */
export const answerOf = (record: CertificateIntent, der: Uint8Array, { hierarchy, issuer }: { readonly hierarchy: Hierarchy; readonly issuer: Issuer }): IssuedCertificate => {
  const { thumbprint, ipAddresses } = parseCertificate(der);
  const pem = encodePem('CERTIFICATE', der);
  return {
    issuerId: record.issuerId,
    serial: record.serial,
    thumbprint,
    agent: record.agent,
    profile: record.profile,
    subject: record.subject,
    commonName: record.commonName,
    organizationalUnits: record.organizationalUnits,
    uri: record.uri,
    dnsNames: record.dnsNames,
    ipAddresses,
    notBefore: record.notBefore,
    notAfter: record.notAfter,
    replaces: record.replaces,
    der,
    pem,
    chain: pem + pathAbove(hierarchy, issuer).pem,
    ca: rootsPem(hierarchy),
    crossCertificates: hierarchy.crossCertificates.length === 0 ? undefined : hierarchy.crossCertificates.map((cross) => cross.pem).join(''),
    privateKey: undefined,
  };
};
