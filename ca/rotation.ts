/**
 * The next hierarchy: prepare a CA, let it issue, retire the one before. Each step makes a new value out of
 * the old one; what it writes stands on disk before that value is put in force by `CertificateAuthority`.
 */
import { authorityIntent } from './adoption.ts';
import { signAuthority } from './authority-certificate.ts';
import type { AuthorityOrder } from './authority-certificate.ts';
import type { AuthorityOptions } from './authority-options.ts';
import { newCaKey, writeCaKey } from './ca-key.ts';
import type { CaKey } from './ca-key.ts';
import { dependentsOf } from './dependents.ts';
import { writeDurably } from './durable-file.ts';
import { formatDuration } from './duration.ts';
import { CaError } from './errors.ts';
import { authorityActivated, authorityPrepared, authorityRetired, certificateRevoked } from './events.ts';
import { issuerOf, nameConstraintsOf, publishedAt, validFor } from './hierarchy.ts';
import { certificateFile, crossName, keyFile } from './hierarchy-files.ts';
import type { Validity } from './issuance.ts';
import { hierarchyOf, isRootAlone, isTrusted, issuerIn, pemOf } from './issuer.ts';
import type { CrossCertificate, Hierarchy, Issuer, IssuerRole } from './issuer.ts';
import { readTbs } from './lint.ts';
import type { IssuerId, KeyAlgorithm, Signer } from './ports.ts';
import { ocspProfile } from './profile.ts';
import type { IssuerName } from './requests.ts';
import { revokeSelected } from './revocation.ts';
import { wholeSecond } from './revocation-selector.ts';
import { checkAttributeText } from './subject-rules.ts';
import { keyAlgorithmOfSpki } from './x509/algorithm.ts';
import type { Certificate } from './x509/certificate.ts';
import { EXTENSION, encodeExtension } from './x509/extension.ts';
import { nameAttributes } from './x509/name.ts';
import type { DistinguishedName } from './x509/name.ts';
import { generateSerial } from './x509/serial.ts';

export type RotationWorld = Pick<AuthorityOptions, 'store' | 'clock' | 'randomness' | 'passphrase' | 'publicUrl' | 'trustDomain'>;

export interface PrepareRequest {
  /** `root` makes an issuing CA under it too. */
  readonly role: IssuerRole;
  /** Default: that of the CA that is active. */
  readonly keyAlgorithm?: KeyAlgorithm | undefined;
  /** Keys at hand, such as those on a token. Default: new ones. */
  readonly rootKey?: CaKey | undefined;
  readonly issuingKey?: CaKey | undefined;
  /** Years until the new root, and the new issuing CA, expire. Default 20 and 10, the latter never beyond its root. */
  readonly rootYears?: number | undefined;
  readonly issuingYears?: number | undefined;
  /** Restricts the issuing CA to its trust domain and these DNS domains. Default: the constraints of the one that is active. */
  readonly permittedDnsNames?: readonly string[] | undefined;
  readonly actor?: string | undefined;
}

export interface ActivateOptions {
  /** A root that was just prepared is known to nobody yet. Default `required`: a day must have passed. */
  readonly settling?: 'required' | 'waived' | undefined;
  readonly actor?: string | undefined;
}

export interface RetireOptions {
  /** What to do while certificates of it are valid. Default `refuse`. */
  readonly onLive?: 'refuse' | 'cutOff' | undefined;
  readonly actor?: string | undefined;
}

/** What a step leads to. */
export interface Step {
  readonly next: Hierarchy;
  /** The CAs it is about. */
  readonly changed: readonly IssuerName[];
}

const settlingSeconds = 86_400;

/** @throws CaError `ERR_CA_STATUS`, `ERR_CA_MISSING`, `ERR_KEY_ALGORITHM`, `ERR_CA_NAME` */
export const prepare = async (hierarchy: Hierarchy, request: PrepareRequest, world: RotationWorld): Promise<Step> => {
  const waiting = hierarchy.issuers.find(({ status, role }) => status === 'prepared' && (role === 'issuing' || request.role === 'root'));
  if (waiting !== undefined) throw notNow(`${waiting.name} is prepared already; activate it or retire it first`, waiting);
  if (isRootAlone(hierarchy)) throw new CaError('ERR_CA_MISSING', 'this data directory holds a root alone; prepare an issuing CA where it issues, and sign its request here');
  const actor = request.actor ?? 'ca';
  const issuing = hierarchy.issuing;
  const making: Making = { ...world, directory: hierarchy.directory, actor };
  await endInterrupted(hierarchy, making);
  if (request.role === 'issuing') {
    const made = await makeIssuing(hierarchy, { root: hierarchy.root, request }, making);
    return begun(hierarchy, { issuers: [made], crossCertificates: [] }, making);
  }
  const old = hierarchy.root;
  const oldSigner = requireSigner(old);
  const name = nextName(hierarchy, 'root');
  const key = request.rootKey ?? (await newCaKey(request.keyAlgorithm ?? keyAlgorithmOfSpki(old.certificate.spki)));
  const { signer } = key;
  // Before anything is signed: the name of the issuing CA may be refused.
  nextSubject(issuing, nextName(hierarchy, 'issuing'));
  await keepKey(name, key, making);
  // RFC 5280 §3.2 and §6.1: under the same name what one root certifies of the other is self-issued, and takes no step of the pathLen.
  const subject = old.certificate.subjectNameDer;
  const certificate = await sign(name, { role: 'root', subject, own: signer, by: undefined, validity: validFor(request.rootYears ?? 20, world.clock.now()) }, making);
  await keepCertificate(name, certificate, making);
  const root = issuerOf({ name, role: 'root', status: 'prepared', since: world.clock.now(), root: name }, { path: [certificate], root: certificate, signer });
  const made = await makeIssuing(hierarchy, { root, request }, making);
  const before = { ...old, signer: oldSigner };
  const crossCertificates = [await makeCross(root, before, making), await makeCross(old, { ...root, signer }, making), await makeCross(made, before, making)];
  return begun(hierarchy, { issuers: [root, made], crossCertificates }, making);
};

/** Lets a prepared CA issue, or again one that was superseded. A root takes the newest issuing CA under it along. @throws CaError `ERR_CA_STATUS`, `ERR_CA_MISSING` */
export const activate = async (hierarchy: Hierarchy, name: IssuerName, options: ActivateOptions, { store, clock }: RotationWorld): Promise<Step> => {
  const chosen = named(hierarchy, name);
  if (chosen.status === 'active') throw notNow(`${name} is active already`, chosen);
  if (chosen.status === 'retired') throw notNow(`${name} is retired, which is final; prepare another`, chosen);
  const root = named(hierarchy, chosen.root);
  if (chosen.role === 'issuing' && root.status === 'prepared') throw notNow(`${name} stands under ${root.name}, which is only prepared; activate ${root.name}, which takes ${name} along`, chosen);
  const now = clock.now();
  const settled = chosen.since.getTime() + settlingSeconds * 1_000;
  if (chosen.role === 'root' && chosen.status === 'prepared' && options.settling !== 'waived' && now.getTime() < settled) {
    throw notNow(`${name} is prepared for less than ${formatDuration(settlingSeconds)}: relying parties may not have it yet; wait until ${new Date(settled).toISOString()}, or waive the wait once all of them have`, chosen);
  }
  const issuing = chosen.role === 'issuing' ? chosen : hierarchy.issuers.findLast((each) => each.role === 'issuing' && each.root === name && isTrusted(each));
  if (issuing === undefined) throw notNow(`there is no issuing CA under ${name}; prepare another root`, chosen);
  requireSigner(issuing);
  await refuseRevoked(new Set([chosen, issuing]), hierarchy, store);
  const changing = new Set([name, issuing.name]);
  const issuers = hierarchy.issuers.map((each): Issuer => {
    if (changing.has(each.name)) return each.status === 'active' ? each : { ...each, status: 'active', since: now };
    const supersededNow = each.status === 'active' && (each.role === 'issuing' || chosen.role === 'root');
    return supersededNow ? { ...each, status: 'superseded', since: now } : each;
  });
  const next = hierarchyOf({ ...hierarchy, sequence: hierarchy.sequence + 1, issuers });
  for (const issuer of next.issuers) if (changing.has(issuer.name)) await store.recordEvent(authorityActivated(issuer, { time: now, actor: options.actor ?? 'ca', sequence: next.sequence }));
  return { next, changed: [...changing] };
};

/**
 * Ends the trust in a CA. Its certificate is revoked first, by the root above it, so that relying parties
 * elsewhere follow. A root takes along what stands under it. @throws CaError `ERR_CA_STATUS`, `ERR_CA_IN_USE`
 */
export const retire = async (hierarchy: Hierarchy, name: IssuerName, options: RetireOptions, { store, clock }: RotationWorld): Promise<Step> => {
  const chosen = named(hierarchy, name);
  const actor = options.actor ?? 'ca';
  if (chosen.status === 'retired') throw notNow(`${name} is retired already`, chosen);
  const going = hierarchy.issuers.filter((each) => isTrusted(each) && (each.name === name || each.root === name));
  const active = going.find(({ status }) => status === 'active');
  if (active !== undefined) throw notNow(`${active.name} is active; activate another in its place first`, active);
  const now = clock.now();
  if (options.onLive !== 'cutOff') await refuseLive(going, hierarchy, { store, clock });
  const gone = new Set(going.map((each) => each.name));
  const revoking = [
    ...going.flatMap(({ role, root, above, certificate }) => (role === 'root' ? [] : [{ issuerId: above[0]?.spkiHash ?? idOf(hierarchy, root), serial: certificate.serial }])),
    // Else the key of a retired root would still lead to one that is trusted.
    ...hierarchy.crossCertificates.filter(({ of }) => gone.has(of)).map(({ by, certificate }) => ({ issuerId: idOf(hierarchy, by), serial: certificate.serial })),
  ];
  if (revoking.length > 0) await store.revoke(revoking, 'superseded', now, (record) => certificateRevoked(record, 'superseded', { time: now, actor }));
  const issuers = hierarchy.issuers.map((each): Issuer => (gone.has(each.name) ? { ...each, status: 'retired', since: now } : each));
  const next = hierarchyOf({ ...hierarchy, sequence: hierarchy.sequence + 1, issuers });
  for (const issuer of next.issuers) if (gone.has(issuer.name)) await store.recordEvent(authorityRetired(issuer, { time: now, actor, sequence: next.sequence }));
  return { next, changed: [...gone] };
};

/** Valid certificates of a CA, without those of its own OCSP responder. */
export const liveCertificates = async ({ id }: Pick<Issuer, 'id'>, { store, clock }: Pick<RotationWorld, 'store' | 'clock'>): Promise<number> => {
  const query = { issuerId: id, states: ['intent', 'issued', 'unknownIssued'] as const, validAt: wholeSecond(clock.now()) };
  const [all, own] = await Promise.all([store.countCertificates(query), store.countCertificates({ ...query, profile: ocspProfile.name })]);
  return all - own;
};

interface Making extends RotationWorld {
  readonly directory: string | undefined;
  readonly actor: string;
}

const begun = async (hierarchy: Hierarchy, made: Pick<Hierarchy, 'issuers' | 'crossCertificates'>, { store, clock, actor }: Making): Promise<Step> => {
  const sequence = hierarchy.sequence + 1;
  for (const issuer of made.issuers) await store.recordEvent(authorityPrepared(issuer, { time: clock.now(), actor, sequence }));
  const next = hierarchyOf({ ...hierarchy, sequence, issuers: [...hierarchy.issuers, ...made.issuers], crossCertificates: [...hierarchy.crossCertificates, ...made.crossCertificates] });
  return { next, changed: made.issuers.map(({ name }) => name) };
};

/**
 * What a run that was interrupted may have signed belongs to no hierarchy, and its keys are about to be replaced: it is
 * revoked. Whoever prepares is alone at it, so nothing of these names is under way.
 */
const endInterrupted = async (hierarchy: Hierarchy, { store, clock, actor }: Making): Promise<void> => {
  const [root, issuing] = [nextName(hierarchy, 'root'), nextName(hierarchy, 'issuing')];
  const { name: before } = hierarchy.root;
  const names = [root, issuing, crossName({ of: root, by: before }), crossName({ of: before, by: root }), crossName({ of: issuing, by: before })];
  const at = clock.now();
  const world = { store, clock, sleep: () => Promise.resolve(), intentPatienceMs: 0 };
  for (const name of names) {
    const left = await store.findCertificates({ agent: `ca:${name}`, states: ['intent', 'unknownIssued'], validAt: wholeSecond(at) });
    for (const { issuerId, serial } of left) await revokeSelected(world, { issuerId, serial }, { reason: 'superseded', actor });
  }
};

const makeIssuing = async (hierarchy: Hierarchy, { root, request }: { readonly root: Issuer; readonly request: PrepareRequest }, making: Making): Promise<Issuer> => {
  const { issuing } = hierarchy;
  const rootSigner = requireSigner(root);
  const name = nextName(hierarchy, 'issuing');
  const subject = nextSubject(issuing, name);
  const key = request.issuingKey ?? (await newCaKey(request.keyAlgorithm ?? keyAlgorithmOfSpki(issuing.certificate.spki)));
  const { signer } = key;
  await keepKey(name, key, making);
  const nameConstraints = request.permittedDnsNames === undefined ? constraintsOf(issuing.certificate) : nameConstraintsOf(making.trustDomain, request.permittedDnsNames);
  const validity = within(validFor(request.issuingYears ?? 10, making.clock.now()), root.certificate);
  const certificate = await sign(name, { role: 'issuing', subject, own: signer, by: { certificate: root.certificate, signer: rootSigner }, validity, nameConstraints, publishedAt: publishedAt(making.publicUrl, root) }, making);
  await keepCertificate(name, certificate, making);
  return issuerOf({ name, role: 'issuing', status: 'prepared', since: making.clock.now(), root: root.name }, { path: [certificate], root: root.certificate, signer });
};

const makeCross = async (of: Issuer, by: Issuer & { readonly signer: Signer }, making: Making): Promise<CrossCertificate> => {
  const name = crossName({ of: of.name, by: by.name });
  const { certificate: own, role } = of;
  const order: Omit<AuthorityOrder, 'serial' | 'record'> = {
    role: role === 'root' ? 'cross' : 'issuing', subject: own.subjectNameDer, own, by, validity: within(own, by.certificate), nameConstraints: constraintsOf(own), publishedAt: publishedAt(making.publicUrl, by),
  };
  const certificate = await sign(name, order, making);
  await keepCertificate(name, certificate, making);
  return { name, of: of.name, by: by.name, certificate, pem: pemOf([certificate]) };
};

/** On record before it is signed, as every certificate is. */
const sign = (name: string, order: Omit<AuthorityOrder, 'serial' | 'record'>, { store, clock, randomness, actor }: Making): Promise<Certificate> =>
  signAuthority({
    ...order,
    serial: generateSerial(randomness),
    record: async (tbs) => {
      const meant = readTbs(tbs);
      const issuerId: IssuerId = order.by?.certificate.spkiHash ?? meant.spkiHash;
      await store.recordIntent(authorityIntent(meant, { name, role: order.role, issuerId, actor }, clock.now()));
    },
  });

/** What lies there under a name that no list has is left over from an interrupted run. */
const keepKey = async (name: IssuerName, key: CaKey, { directory, passphrase, randomness }: Making): Promise<void> => {
  if (directory !== undefined) await writeCaKey(keyFile(directory, name), key, { passphrase, randomness, existing: 'replace' });
};

const keepCertificate = async (name: string, certificate: Certificate, { directory }: Making): Promise<void> => {
  if (directory !== undefined) await writeDurably(certificateFile(directory, name), pemOf([certificate]));
};

/** What the next generation is called. */
export const nextName = ({ issuers }: Hierarchy, role: IssuerRole): IssuerName => {
  for (let generation = 2; ; generation += 1) if (!issuers.some(({ name }) => name === `${role}-${generation}`)) return `${role}-${generation}`;
};

/** `Acme Issuing CA` → `Acme Issuing CA 2`. */
export const nextSubject = ({ certificate: { subject } }: Issuer, name: IssuerName): DistinguishedName => {
  const generation = name.slice(name.lastIndexOf('-') + 1);
  const before = nameAttributes(subject, 'CN')[0] ?? 'Issuing CA';
  const commonName = checkAttributeText(`${before.replace(/ \d+$/, '')} ${generation}`, 'commonName of the CA, made of that of the one before,');
  return [...subject.filter((rdn) => !rdn.some(({ type }) => type === 'CN')), [{ type: 'CN', value: commonName }]];
};

const constraintsOf = ({ extensions }: Certificate): Uint8Array | undefined => {
  const extension = extensions.get(EXTENSION.nameConstraints);
  return extension === undefined ? undefined : encodeExtension(EXTENSION.nameConstraints, 'critical', extension.value);
};

/** The part of a validity in which another is valid too. */
const within = (validity: Validity, bounds: Validity): Validity => ({
  notBefore: validity.notBefore > bounds.notBefore ? validity.notBefore : bounds.notBefore,
  notAfter: validity.notAfter < bounds.notAfter ? validity.notAfter : bounds.notAfter,
});

const refuseLive = async (going: readonly Issuer[], hierarchy: Hierarchy, world: Pick<RotationWorld, 'store' | 'clock'>): Promise<void> => {
  const dependents = await dependentsOf(new Set(going.map(({ id }) => id)), hierarchy, world);
  const [some] = dependents;
  if (some === undefined) return;
  const many = dependents.length > 1;
  const last = new Date(Math.max(...dependents.map(({ notAfter }) => notAfter.getTime())));
  const names = going.map(({ name }) => name).join(', ');
  throw new CaError('ERR_CA_IN_USE', `${many ? `${dependents.length} certificates` : '1 certificate'} of ${names}, such as that of ${some.agent}, ${many ? 'are' : 'is'} valid until ${last.toISOString()} and nothing has taken ${many ? 'their' : 'its'} place; wait until ${many ? 'they are' : 'it is'} renewed, or cut ${many ? 'them' : 'it'} off`, {
    facts: { ca: names, live: dependents.length, agents: [...new Set(dependents.map(({ agent }) => agent))].slice(0, 20) },
  });
};

/** As one that an interrupted retirement, or an operator, has revoked already: whoever reads CRLs refuses what it would issue. */
const refuseRevoked = async (issuers: ReadonlySet<Issuer>, hierarchy: Hierarchy, store: RotationWorld['store']): Promise<void> => {
  for (const issuer of issuers) {
    const [record] = await store.findCertificates({ issuerId: issuer.above[0]?.spkiHash ?? idOf(hierarchy, issuer.root), serial: issuer.certificate.serial, limit: 1 });
    if (record?.state !== 'revoked') continue;
    const way = record.revocationReason === 'certificateHold' ? 'lift the hold with sallyport release, or retire it' : 'retire it';
    throw notNow(`the certificate of ${issuer.name} is revoked; ${way} and prepare another`, issuer);
  }
};

const named = (hierarchy: Hierarchy, name: IssuerName): Issuer => {
  const issuer = issuerIn(hierarchy, name);
  if (issuer === undefined) throw new CaError('ERR_CA_MISSING', `there is no CA named ${JSON.stringify(name)}; use one of ${hierarchy.issuers.map((each) => each.name).join(', ')}`, { facts: { ca: name } });
  return issuer;
};

const idOf = (hierarchy: Hierarchy, name: IssuerName): IssuerId => named(hierarchy, name).id;

const requireSigner = (issuer: Issuer): Signer => {
  if (issuer.signer === undefined) throw new CaError('ERR_CA_MISSING', `the key of the ${issuer.name} CA is not here; do this where the key is kept`, { facts: { ca: issuer.name } });
  return issuer.signer;
};

const notNow = (message: string, { name, status }: Issuer): CaError => new CaError('ERR_CA_STATUS', message, { facts: { ca: name, status } });
