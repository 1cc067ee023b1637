/** Every kind of damage, done to a copy of one store, is found and named. */
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { auditAuthority } from '../../ca/audit/authority.ts';
import type { AuthorityAuditOptions, AuthorityAuditSummary } from '../../ca/audit/authority.ts';
import { auditAdvice } from '../../ca/audit/finding.ts';
import type { AuditFinding } from '../../ca/audit/finding.ts';
import { Fingerprints, fingerprintOf } from '../../ca/audit/fingerprints.ts';
import { endEntityTbs } from '../../ca/issuance.ts';
import { createProfile, profilesOfAuthority } from '../../ca/profile.ts';
import type { CertificateRecord } from '../../ca/ports.ts';
import type { IssuedCertificate } from '../../ca/requests.ts';
import { signatureAlgorithmFor, spkiOf } from '../../ca/x509/algorithm.ts';
import { assembleSigned, parseCertificate } from '../../ca/x509/certificate.ts';
import { CrlEntryBuffer, encodeTbsCrl } from '../../ca/x509/crl.ts';
import { keyIdentifierOf } from '../../ca/x509/extension.ts';
import { certificateEntries } from '../../src/audit/certificate-entries.ts';
import { openStore } from '../../src/store/open-store.ts';
import type { Store } from '../../src/store/store.ts';
import { createAuthority, newCsr, newKey } from '../support/authority.ts';
import type { AuthorityFixture } from '../support/authority.ts';

let fixture: AuthorityFixture;
let folder: string;
let copy: Store;
let database: DatabaseSync;
let agent: IssuedCertificate;
let other: IssuedCertificate;
let revoked: IssuedCertificate;
let server: IssuedCertificate;
const sharedKey = newKey();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-audit-'));
  fixture = await createAuthority({ publicUrl: 'http://pki.acme.internal:8080', crlCoalesceMs: 3_600_000, profiles: { custom: { kind: 'agent-spiffe', maxTtl: '7d' } } });
  const { authority, clock } = fixture;
  agent = await authority.issue({ agent: 'agent-a', organizationalUnits: ['analytics', 'night'] });
  other = await authority.issue({ agent: 'agent-b', profile: 'custom' });
  revoked = await authority.issue({ agent: 'agent-c', ttl: '30d' });
  server = await authority.issueServer({ hosts: ['DB.acme.internal', '10.0.0.7'] });
  await authority.issueServer({ hosts: ['::1'] });
  // Longer than any profile of an agent would have it: of no interest once it has expired.
  await authority.issue({ agent: 'agent-d', ttl: 1 });
  await authority.revoke({ agent: 'agent-c' }, { reason: 'keyCompromise' });
  clock.turn(120);
  for (const which of ['root', 'issuing'] as const) await authority.publishCrl(which);
  const pristine = join(folder, 'pristine.db');
  const original = new DatabaseSync(join(fixture.directory, 'sallyport.db'));
  original.exec(`VACUUM INTO '${pristine}'`);
  original.close();
  copyFileSync(pristine, join(folder, 'copy.db'));
  copy = await openStore(`sqlite:${join(folder, 'copy.db')}`, { clock });
  database = new DatabaseSync(join(folder, 'copy.db'));
  database.exec(`PRAGMA synchronous = OFF; ATTACH '${pristine}' AS pristine`);
});
afterAll(async () => {
  database.close();
  await copy.close();
  await fixture.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Audited {
  readonly summary: AuthorityAuditSummary;
  readonly findings: readonly AuditFinding[];
  /** Codes, each with the serial. */
  readonly codes: readonly string[];
}

type Damage = (database: DatabaseSync) => void;
const sql =
  (statement: string, ...values: readonly (string | number | Uint8Array)[]): Damage =>
  (into) => {
    expect(into.prepare(statement).run(...values).changes).toBeGreaterThan(0);
  };

/** Audits the copy after it was damaged, and makes it whole again. */
const audit = async (damage: Damage = () => {}, options: Partial<AuthorityAuditOptions> = {}, wrap: (store: Store) => AuthorityAuditOptions['store'] = ({ ca }) => ca): Promise<Audited> => {
  damage(database);
  try {
    return await auditStore(copy, options, wrap);
  } finally {
    for (const table of ['certificate', 'crl', 'crl_part']) database.exec(`DELETE FROM ${table}; INSERT INTO ${table} SELECT * FROM pristine.${table}`);
  }
};

const auditStore = async (store: Store, options: Partial<AuthorityAuditOptions> = {}, wrap: (store: Store) => AuthorityAuditOptions['store'] = ({ ca }) => ca): Promise<Audited> => {
  const { authority, clock } = fixture;
  const findings: AuditFinding[] = [];
  const summary = await auditAuthority({
    store: wrap(store),
    clock,
    trustDomain: 'acme.internal',
    profiles: authority.profiles,
    authorities: [authority.root.certificate, authority.issuing.certificate],
    log: (from) => certificateEntries(store.audit, from),
    onFinding: (finding) => findings.push(finding),
    ...options,
  });
  return { summary, findings, codes: findings.map(({ code, serial }) => `${code} ${serial ?? '-'}`) };
};

/** A certificate signed with the issuing key, and its row, past everything the authority would have checked. */
const forge = async (facts: { readonly serial?: Uint8Array; readonly agent?: string; readonly key?: ReturnType<typeof newKey> } = {}): Promise<Damage> => {
  const { issuing } = fixture.authority;
  const { signer } = issuing;
  if (signer === undefined) throw new Error('the issuing key is here');
  const name = facts.agent ?? 'agent-x';
  const now = Math.floor(fixture.clock.now().getTime() / 1_000) * 1_000;
  const tbs = endEntityTbs({
    serial: facts.serial ?? Uint8Array.from({ length: 19 }, (_, at) => at + 1),
    issuer: issuing.certificate,
    issuerAlgorithm: signer.algorithm,
    profile: createProfile('agent', { kind: 'agent' }),
    granted: { subject: [[{ type: 'CN', value: name }]], uris: [`spiffe://acme.internal/agent/${name}`], dnsNames: [], ipAddresses: [] },
    spki: spkiOf(facts.key ?? newKey()),
    validity: { notBefore: new Date(now - 60_000), notAfter: new Date(now + 3_600_000) },
    publishedAt: undefined,
  });
  const der = assembleSigned(tbs, signatureAlgorithmFor(signer.algorithm), await signer.sign(tbs));
  const certificate = parseCertificate(der);
  return (into) => {
    const { serial, thumbprint, spkiHash, notBefore, notAfter } = certificate;
    into
      .prepare("INSERT INTO certificate VALUES (?, ?, 'issued', ?, ?, ?, ?, 'agent', ?, ?, '[]', ?, '[]', ?, ?, ?, ?, NULL, NULL, NULL, NULL, NULL)")
      .run(issuing.id, serial, tbs, der, thumbprint, name, `CN=${name}`, name, `spiffe://acme.internal/agent/${name}`, spkiHash, notBefore.getTime(), notAfter.getTime(), now - 3_600_000);
  };
};
const forgedSerial = '0102030405060708090a0b0c0d0e0f10111213';

describe('a whole authority', () => {
  it('is clean, with CAs, agents, servers, an expired and a revoked certificate', async () => {
    const { findings, summary } = await audit();
    expect(findings).toEqual([]);
    expect(summary).toEqual({ certificates: 8, crls: 2, crlEntries: 1, logged: 8 });
  });

  it('is clean without the log, and says that it was not asked', async () => {
    const { findings, summary } = await audit(undefined, { log: undefined });
    expect(findings).toEqual([]);
    expect(summary.logged).toBeUndefined();
  });

  it('tells how far it is after each page', async () => {
    const told: (readonly number[])[] = [];
    await audit(undefined, { onProgress: (done, total) => told.push([done, total]) }, ({ ca }) => ({ ...ca, certificatePages: () => ca.certificatePages({ pageSize: 3 }) }));
    expect(told).toEqual([[3, 8], [6, 8], [8, 8]]);
  });

  it('stops when it is told to', async () => {
    const stop = new AbortController();
    const log = async function* (from: number) {
      yield* certificateEntries(copy.audit, from);
      stop.abort(new Error('enough'));
    };
    await expect(audit(undefined, { signal: stop.signal, log })).rejects.toThrow('enough');
    await expect(audit(undefined, { signal: stop.signal })).rejects.toThrow('enough');
  });

  it('goes on issuing meanwhile: what came after the log was read is looked up in it again', async () => {
    const { authority, store } = fixture;
    let issued: IssuedCertificate | undefined;
    const { codes, summary } = await auditStore(store, {
      log: async function* (from) {
        yield* certificateEntries(store.audit, from);
        issued ??= await authority.issue({ agent: 'agent-late', ttl: 60 });
      },
    });
    expect(codes).toEqual([]);
    expect(summary).toMatchObject({ certificates: 9, logged: 8 });
  });

  it('does not hold a certificate to a profile that is no longer configured', async () => {
    expect((await audit(undefined, { profiles: profilesOfAuthority({}) })).codes).toEqual([]);
  });
});

describe('a row', () => {
  it.each([
    ['serial', "serial = '11'"],
    ['subject', "subject = 'CN=agent-z'"],
    ['common name', "common_name = 'agent-z'"],
    ['organizational units', `organizational_units = '["admins"]'`],
    ['organizational units', "organizational_units = 'admins'"],
    ['URI', "uri = 'spiffe://acme.internal/agent/agent-z'"],
    ['DNS names', `dns_names = '["a.test"]'`],
    ['notBefore', 'not_before = not_before - 1000'],
    ['notAfter', 'not_after = not_after + 1000'],
    ['notAfter', 'not_after = 9007199254740991'],
    ['key hash', "spki_hash = 'ff'"],
    ['thumbprint', "thumbprint = 'ff'"],
    ['agent', "agent = 'agent-b'"],
  ])('that says another %s (%s) is named', async (field, assignment) => {
    const { findings } = await audit(sql(`UPDATE certificate SET ${assignment} WHERE serial = ?`, agent.serial));
    const differing = findings.find(({ code }) => code === 'rowDiffers');
    expect(differing?.message).toMatch(new RegExp(`(^|; )${field}: the row says `));
    expect(differing?.message.split('; ')).toHaveLength(1);
  });

  it('of an agent that is said to be a CA, or the other way round, is named', async () => {
    expect((await audit(sql("UPDATE certificate SET agent = 'ca:issuing' WHERE serial = ?", agent.serial))).codes).toEqual(expect.arrayContaining([`rowDiffers ${agent.serial}`, `breaksRule ${agent.serial}`]));
    const { serial } = fixture.authority.issuing.certificate;
    expect((await audit(sql("UPDATE certificate SET agent = 'agent-a' WHERE serial = ?", serial))).codes).toEqual(expect.arrayContaining([`rowDiffers ${serial}`, `breaksRule ${serial}`]));
  });

  it('of a server that is said to be another is named', async () => {
    const { codes } = await audit(sql("UPDATE certificate SET agent = 'other.acme.internal' WHERE serial = ?", server.serial));
    expect(codes).toEqual([`rowDiffers ${server.serial}`]);
  });

  it('whose intent is not what was signed is named', async () => {
    expect((await audit(sql('UPDATE certificate SET tbs = (SELECT tbs FROM certificate WHERE serial = ?) WHERE serial = ?', other.serial, agent.serial))).codes).toEqual([`notAsIntended ${agent.serial}`]);
  });

  it('whose certificate cannot be read is named, and the others are still looked at', async () => {
    const { codes, summary } = await audit(sql("UPDATE certificate SET der = x'3000' WHERE serial = ?", agent.serial));
    expect(codes).toContain(`unreadable ${agent.serial}`);
    expect(summary.certificates).toBe(8);
  });

  it('with a signature of somebody else is named', async () => {
    const der = Uint8Array.from(agent.der);
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    const { codes } = await audit(sql('UPDATE certificate SET der = ?, thumbprint = ? WHERE serial = ?', der, parseCertificate(der).thumbprint, agent.serial));
    expect(codes.toSorted()).toEqual([`badSignature ${agent.serial}`, `notInLog ${agent.serial}`, `notInStore ${agent.serial}`]);
  });

  it('that says issued and has no certificate is named', async () => {
    // SQLite and PostgreSQL refuse such a row; a store of one's own may not.
    const { codes } = await audit(undefined, { log: undefined }, ({ ca }) => ({
      ...ca,
      certificatePages: async function* () {
        for await (const page of ca.certificatePages()) yield page.map((record): CertificateRecord => (record.serial === agent.serial ? { ...record, der: undefined } : record));
      },
    }));
    expect(codes).toEqual([`certificateMissing ${agent.serial}`]);
  });

  it('that has a revocation and is not revoked is named, as is the CRL, and the log', async () => {
    const { codes } = await audit(sql("UPDATE certificate SET state = 'issued' WHERE serial = ?", revoked.serial));
    expect(codes).toEqual([`stateDiffers ${revoked.serial}`, `revokedInLog ${revoked.serial}`, `listedNotRevoked ${revoked.serial}`]);
  });

  it('that is an intent with a certificate is named', async () => {
    expect((await audit(sql("UPDATE certificate SET state = 'unknownIssued' WHERE serial = ?", agent.serial))).codes).toEqual([`unknownIssued ${agent.serial}`, `stateDiffers ${agent.serial}`]);
  });

  it('that is an intent for longer than a minute is named, one that is being issued is not', async () => {
    const intent = (createdAt: number): Damage => sql("UPDATE certificate SET state = 'intent', der = NULL, thumbprint = NULL, created_at = ? WHERE serial = ?", createdAt, agent.serial);
    const now = fixture.clock.now().getTime();
    expect((await audit(intent(now - 61_000), { log: undefined })).codes).toEqual([`leftIntent ${agent.serial}`]);
    expect((await audit(intent(now - 30_000), { log: undefined })).codes).toEqual([]);
  });

  it('of an intent that may have been signed is named until it would have expired', async () => {
    const unknown = sql("UPDATE certificate SET state = 'unknownIssued', der = NULL, thumbprint = NULL WHERE serial = ?", agent.serial);
    expect((await audit(unknown, { log: undefined })).codes).toEqual([`unknownIssued ${agent.serial}`]);
    const late = new Date(agent.notAfter.getTime() + 1_000);
    expect((await audit(unknown, { log: undefined, clock: { now: () => late } })).codes).not.toContain(`unknownIssued ${agent.serial}`);
  });
});

describe('a certificate', () => {
  it('that breaks a rule is named, with the rule and its clause', async () => {
    const { findings } = await audit(await forge({ serial: Uint8Array.of(1, 2, 3) }), { log: undefined });
    expect(findings).toMatchObject([{ code: 'breaksRule', serial: '010203', agent: 'agent-x', message: 'serial (RFC 5280 §4.1.2.2): the serial is not 19 positive octets' }]);
  });

  it('that the profile of today would not give is named while it lives', async () => {
    const profiles = profilesOfAuthority({ defaultTtl: '1h', maxTtl: '1h', profiles: { custom: { kind: 'agent-spiffe', maxTtl: '7d' } } });
    expect((await audit(undefined, { profiles })).codes).toEqual([`outsideProfile ${agent.serial}`]);
  });

  it('that nobody is on record for is named', async () => {
    expect((await audit(await forge())).codes).toEqual([`notInLog ${forgedSerial}`]);
  });

  it('that the log knows and the store does not is named until it expires', async () => {
    const gone = sql('DELETE FROM certificate WHERE serial = ?', agent.serial);
    expect((await audit(gone)).codes).toEqual([`notInStore ${agent.serial}`]);
    const late = new Date(agent.notAfter.getTime() + 1_000);
    expect((await audit(gone, { clock: { now: () => late } })).codes).not.toContain(`notInStore ${agent.serial}`);
  });

  it('with a serial that another has is named', async () => {
    const { findings } = await audit(() => {
      database.exec('DROP TABLE IF EXISTS temp.twin');
      database.exec(`CREATE TEMP TABLE twin AS SELECT * FROM certificate WHERE serial = '${agent.serial}'`);
      database.exec(`UPDATE twin SET issuer_id = '${fixture.authority.root.id}'`);
      database.exec('INSERT INTO certificate SELECT * FROM twin');
    });
    expect(findings.map(({ code }) => code)).toEqual(expect.arrayContaining(['badSignature', 'serialRepeated']));
    expect(findings.find(({ code }) => code === 'serialRepeated')?.message).toContain(`the serial ${agent.serial}, as has that of agent-a`);
  });

  it('with the key of another agent is named, and one with the key of its own agent is not', async () => {
    const first = await forge({ agent: 'agent-x', key: sharedKey });
    const both = async (name: string): Promise<Damage> => {
      const second = await forge({ agent: name, key: sharedKey, serial: Uint8Array.from({ length: 19 }, () => 0x22) });
      return (into) => {
        first(into);
        second(into);
      };
    };
    const { findings } = await audit(await both('agent-y'), { log: undefined });
    expect(findings).toMatchObject([{ code: 'keyShared', message: expect.stringContaining('is also that of agent-') as string }]);
    expect((await audit(await both('agent-x'), { log: undefined })).codes).toEqual([]);
  });

  it('of a server may have the key of another server', async () => {
    const csr = newCsr();
    const twice = await createAuthority();
    try {
      for (const host of ['a.acme.internal', 'b.acme.internal']) await twice.authority.issueServer({ hosts: [host], csr });
      const authorities = [twice.authority.root.certificate, twice.authority.issuing.certificate];
      expect((await auditStore(twice.store, { authorities, clock: twice.clock })).codes).toEqual([]);
    } finally {
      await twice.close();
    }
  });

  it('of an issuer that is no CA here is named', async () => {
    expect((await audit(sql('UPDATE certificate SET issuer_id = ? WHERE serial = ?', 'ff'.repeat(32), agent.serial), { log: undefined })).codes).toEqual([`issuerUnknown ${agent.serial}`]);
  });
});

describe('a CA', () => {
  it('that is a root in the store and not in the directory is named', async () => {
    const { root, issuing } = fixture.authority;
    expect((await audit(undefined, { authorities: [issuing.certificate] })).codes).toEqual([`authorityUnknown ${root.certificate.serial}`]);
  });

  it('that has no row is named', async () => {
    const { serial } = fixture.authority.issuing.certificate;
    expect((await audit(sql("DELETE FROM certificate WHERE agent = 'ca:issuing'"), { log: undefined })).codes).toEqual([`authorityNotRecorded ${serial}`]);
  });

  it('is held to the rules of a CA', async () => {
    const { serial } = fixture.authority.issuing.certificate;
    const { findings } = await audit(sql("UPDATE certificate SET profile = 'root' WHERE agent = 'ca:issuing'"));
    expect(findings).toMatchObject([{ code: 'breaksRule', serial }]);
    expect(findings[0]?.message).toContain('pathLen');
  });
});

describe('a CRL', () => {
  const issuing = (): string => fixture.authority.issuing.id;

  it('that is missing is named', async () => {
    expect((await audit(sql('DELETE FROM crl WHERE issuer_id = ?', issuing()))).findings).toMatchObject([{ code: 'crlMissing', issuer: issuing() }]);
  });

  it('that cannot be read is named', async () => {
    expect((await audit(sql("UPDATE crl_part SET content = x'3000' WHERE issuer_id = ?", issuing()))).codes).toEqual(['crlUnreadable -']);
  });

  it('whose row says something else is named, with what', async () => {
    const { findings } = await audit(sql("UPDATE crl SET entries = 7, crl_number = '99' WHERE issuer_id = ?", issuing()));
    expect(findings).toMatchObject([{ code: 'crlRowDiffers', message: expect.stringContaining('entries: the row says 7, the CRL 1') as string }]);
  });

  it('that another signed is named, and not believed', async () => {
    const current = await fixture.authority.currentCrl('issuing');
    const der = Uint8Array.from(current.der);
    der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
    const { findings } = await audit(sql('UPDATE crl_part SET content = ? WHERE issuer_id = ?', der, issuing()));
    expect(findings).toMatchObject([{ code: 'crlUnusable', message: expect.stringContaining('is not signed by its issuer') as string }]);
  });

  it('is fresh until its nextUpdate, and stale from then on', async () => {
    const { nextUpdate } = await fixture.authority.currentCrl('root');
    const at = async (now: Date) => (await audit(undefined, { clock: { now: () => now } })).findings.filter(({ issuer }) => issuer === fixture.authority.root.id);
    expect(await at(new Date(nextUpdate.getTime() - 1))).toEqual([]);
    expect(await at(nextUpdate)).toMatchObject([{ code: 'crlStale', serial: undefined }]);
  });

  it('that lacks a revoked serial is named, unless the revocation is of this minute or the certificate had expired', async () => {
    const now = fixture.clock.now().getTime();
    const at = (time: number, serial: string): Damage => sql("UPDATE certificate SET state = 'revoked', revocation_reason = 'superseded', revoked_at = ? WHERE serial = ?", time, serial);
    expect((await audit(at(now - 61_000, agent.serial))).codes).toEqual([`revokedNotListed ${agent.serial}`]);
    expect((await audit(at(now - 30_000, agent.serial))).codes).toEqual([]);
    const [expired] = await fixture.authority.certificates({ agent: 'agent-d' });
    expect((await audit(at(now - 61_000, expired?.serial ?? ''))).codes).toEqual([]);
  });

  it('that lists what the store does not have as revoked is named', async () => {
    const { codes } = await audit(sql("UPDATE certificate SET state = 'issued', revoked_at = NULL, revocation_reason = NULL WHERE serial = ?", revoked.serial));
    expect(codes).toEqual([`revokedInLog ${revoked.serial}`, `listedNotRevoked ${revoked.serial}`]);
  });

  it.each([
    ["revocation_reason = 'superseded'", 'the store says superseded, the current CRL keyCompromise'],
    ['revoked_at = revoked_at - 5000', 'the store says revoked at '],
  ])('that gives an entry otherwise than the store (%s) is named', async (assignment, message) => {
    expect((await audit(sql(`UPDATE certificate SET ${assignment} WHERE serial = ?`, revoked.serial))).findings).toMatchObject([{ code: 'entryDiffers', serial: revoked.serial, message: expect.stringContaining(message) as string }]);
  });

  it('that is not in order is named', async () => {
    const { signer, certificate } = fixture.authority.issuing;
    const current = await fixture.authority.currentCrl('issuing');
    if (signer === undefined) throw new Error('the issuing key is here');
    const entries = new CrlEntryBuffer({ expectedEntries: 3 });
    for (const serial of ['7f01', revoked.serial, '0102']) entries.add({ serial, revokedAt: current.thisUpdate, reason: 'superseded' });
    const algorithm = signatureAlgorithmFor(signer.algorithm);
    const { thisUpdate, nextUpdate, crlNumber } = current;
    const tbs = encodeTbsCrl({ issuerName: certificate.subjectNameDer, signatureAlgorithm: algorithm, thisUpdate, nextUpdate, crlNumber, authorityKeyIdentifier: keyIdentifierOf(certificate.spki), entries });
    const der = assembleSigned(tbs, algorithm, await signer.sign(tbs));
    const damage: Damage = (into) => {
      sql("UPDATE crl SET octets = 'other', entries = 3 WHERE issuer_id = ?", issuing())(into);
      sql("UPDATE crl_part SET octets = 'other', content = ? WHERE issuer_id = ?", der, issuing())(into);
    };
    expect((await audit(damage)).codes).toContain('crlUnordered -');
  });
});

it('says of every code what it means and what to do', () => {
  const page = readFileSync(new URL('../../docs/audit.md', import.meta.url), 'utf8');
  const [, section = ''] = page.split('## The authority itself');
  expect([...section.matchAll(/^\| `(\w+)` \| \w/gm)].map(([, code]) => code)).toEqual(Object.keys(auditAdvice));
  for (const advice of Object.values(auditAdvice)) expect(advice.length).toBeGreaterThan(20);
});

it('remembers many texts in few octets, and tells which came twice', () => {
  const set = new Fingerprints();
  for (let at = 0; at < 3_000; at++) set.add(`text ${at}`);
  set.add('text 7');
  expect([...set.repeated()]).toEqual([fingerprintOf('text 7')]);
  expect([set.has('text 0'), set.has('text 2999'), set.has('text 3000')]).toEqual([true, true, false]);
  set.add('text 3000');
  expect(set.has('text 3000')).toBe(true);
  expect(new Fingerprints().has('')).toBe(false);
});
