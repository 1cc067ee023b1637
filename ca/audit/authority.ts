/**
 * Looks over everything an authority has ever issued: each certificate read again from its octets and
 * compared with its row, its rules and its signature; then CRLs, and what the audit log says. Page by
 * page: of a million certificates only some octets each are kept.
 */
import type { CaStore, CertificateRecord, Clock, IssuerId, SerialHex } from '../ports.ts';
import type { Profile } from '../profile.ts';
import { readTbs } from '../lint.ts';
import { parseCertificate, verifyCertificateSignature } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { equalBytes } from '../x509/der.ts';
import { formatName } from '../x509/name.ts';
import { auditCrls } from './crl.ts';
import type { AuditCode, AuditFinding } from './finding.ts';
import { Fingerprints, fingerprintOf } from './fingerprints.ts';
import { Issuers } from './issuers.ts';
import { rulesBroken } from './profile-rules.ts';
import { roleOf } from '../record-role.ts';
import { moment, rowDifferences } from './row.ts';

/** What the audit log says about one certificate. */
export interface LoggedCertificate {
  /** Of the entry. */
  readonly index: number;
  readonly action: 'issued' | 'revoked';
  readonly issuer: IssuerId;
  readonly serial: SerialHex;
  readonly thumbprint: string | undefined;
  readonly agent: string | undefined;
  readonly notAfter: Date | undefined;
}

export interface AuthorityAuditOptions {
  readonly store: Pick<CaStore, 'certificatePages' | 'findCertificates' | 'countCertificates' | 'crlStates' | 'crlSeries' | 'latestCrl' | 'revokedSerials'>;
  readonly clock: Clock;
  readonly trustDomain: string;
  readonly profiles: ReadonlyMap<string, Profile>;
  /** CA certificates from outside the store; at least the root. */
  readonly authorities: readonly Certificate[];
  /** The log, from the entry of this index on. Without it nothing is compared with the log. */
  readonly log?: ((from: number) => AsyncIterable<LoggedCertificate>) | undefined;
  /** Each as it is found: there may be as many as rows. */
  readonly onFinding: (finding: AuditFinding) => void;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface AuthorityAuditSummary {
  readonly certificates: number;
  readonly crls: number;
  readonly crlEntries: number;
  /** Issuances in the audit log; undefined when it was not asked. */
  readonly logged: number | undefined;
}

type Subject = Pick<CertificateRecord, 'serial' | 'issuerId' | 'agent'>;

/** Rejects with the signal's reason when it is stopped. */
export const auditAuthority = (options: AuthorityAuditOptions): Promise<AuthorityAuditSummary> => new AuthorityAudit(options).run();

/** What is younger may be unfinished: an intent, or an issuance whose log entry is being written. */
const patienceMs = 60_000;

class AuthorityAudit {
  readonly #options: AuthorityAuditOptions;
  readonly #issuers: Issuers;
  readonly #startedAt: Date;
  readonly #serials = new Fingerprints();
  readonly #liveKeys = new Fingerprints();
  /** Issuer, serial and thumbprint of what the log, and of what the store, says was issued. */
  readonly #loggedIssuances = new Fingerprints();
  readonly #storedIssuances = new Fingerprints();
  readonly #loggedRevocations = new Fingerprints();
  /** Of the last minute, missing from the log as it was first read. */
  readonly #perhapsLogged = new Map<string, Subject>();
  #logEnd = 0;
  /** Thumbprints of the CA certificates that have a row. */
  readonly #recordedAuthorities = new Set<string>();

  constructor(options: AuthorityAuditOptions) {
    this.#options = options;
    this.#issuers = new Issuers(options.store, options.authorities);
    this.#startedAt = options.clock.now();
  }

  async run(): Promise<AuthorityAuditSummary> {
    const { store, onProgress, signal } = this.#options;
    // The log first: it then has nothing that the store does not.
    const logged = await this.#readLog();
    const total = await store.countCertificates({});
    let certificates = 0;
    for await (const page of store.certificatePages()) {
      signal?.throwIfAborted();
      for (const record of page) await this.#row(record);
      certificates += page.length;
      onProgress?.(certificates, Math.max(certificates, total));
    }
    await this.#repetitions();
    if (logged !== undefined) {
      await this.#recentInLog();
      await this.#goneFromStore();
    }
    this.#authorities();
    return { certificates, ...(await this.#crls()), logged };
  }

  async #row(record: CertificateRecord): Promise<void> {
    const { trustDomain, profiles } = this.#options;
    this.#state(record);
    const certificate = this.#read(record);
    this.#serials.add(certificate?.serial ?? record.serial);
    if (this.#holdsKey(record)) this.#liveKeys.add(certificate?.spkiHash ?? record.spkiHash);
    this.#logged(record, certificate);
    if (certificate === undefined) return;

    const differences = rowDifferences(record, certificate, trustDomain);
    if (differences.length > 0) this.#report('rowDiffers', record, differences.join('; '));
    if (record.der !== undefined && !equalBytes(certificate.tbs, record.tbs)) this.#report('notAsIntended', record, 'what was signed is not what was recorded before it was signed');
    // One that is being issued at this moment has yet to be looked at.
    if (record.state === 'intent') return;
    const issuer = await this.#issuers.find(record.issuerId);
    if (issuer === undefined) {
      // A rotation that was interrupted leaves what it was about to sign with a root that never came to be.
      if (record.der === undefined && certificate.basicConstraints?.ca === true) return;
      this.#report('issuerUnknown', record, `its issuer ${record.issuerId} is no CA of this authority`);
      return;
    }
    if (record.der !== undefined && !verifyCertificateSignature(certificate, issuer.key)) this.#report('badSignature', record, `its signature is not that of ${formatName(issuer.certificate.subject)}`);
    const { broken, outsideProfile } = rulesBroken(record, certificate, { issuer: issuer.certificate, profiles, live: this.#isLive(record) });
    if (broken.length > 0) this.#report('breaksRule', record, broken.map(({ rule, citation, message }) => `${rule} (${citation}): ${message}`).join('; '));
    if (outsideProfile.length > 0) this.#report('outsideProfile', record, `profile ${record.profile} of today: ${outsideProfile.map(({ rule, message }) => `${rule}: ${message}`).join('; ')}`);
    if (certificate.basicConstraints?.ca === true) this.#authorityRow(record, certificate);
  }

  #state(record: CertificateRecord): void {
    const { state, der, revokedAt, revocationReason } = record;
    const age = this.#startedAt.getTime() - record.createdAt.getTime();
    if (state === 'intent' && !(age <= patienceMs)) this.#report('leftIntent', record, `an intent of ${moment(record.createdAt)} that was never finished; a certificate may exist`);
    // One that has expired harms nobody.
    if (state === 'unknownIssued' && this.#isLive(record)) this.#report('unknownIssued', record, `nobody knows whether it was signed; valid until ${moment(record.notAfter)}`);
    if (state === 'issued' && der === undefined) this.#report('certificateMissing', record, 'the row says issued and holds no certificate');
    if ((state === 'intent' || state === 'unknownIssued') && der !== undefined) this.#report('stateDiffers', record, `the row says ${state} and holds a certificate`);
    if (state !== 'revoked' && (revokedAt !== undefined || revocationReason !== undefined)) this.#report('stateDiffers', record, `the row says ${state} and has a revocation (${revocationReason ?? 'no reason'}, ${revokedAt === undefined ? 'no time' : moment(revokedAt)})`);
  }

  /** Strictly, from the octets; where there is no certificate, from what was to be signed. */
  #read(record: CertificateRecord): Certificate | undefined {
    // Taken from a CRL when a backup was restored: its serial is all that is known.
    if (record.state === 'revoked' && record.der === undefined && record.tbs.length === 0) return undefined;
    try {
      return record.der === undefined ? readTbs(record.tbs) : parseCertificate(record.der);
    } catch (error) {
      this.#report('unreadable', record, `cannot be read: ${error instanceof Error ? error.message : 'not a certificate'}`);
      return undefined;
    }
  }

  #authorityRow(record: CertificateRecord, certificate: Certificate): void {
    this.#recordedAuthorities.add(certificate.thumbprint);
    const known = this.#options.authorities.some(({ thumbprint }) => thumbprint === certificate.thumbprint);
    if (!known && certificate.spkiHash === record.issuerId) this.#report('authorityUnknown', record, `${formatName(certificate.subject)} stands in the store as a root`);
  }

  #authorities(): void {
    for (const { thumbprint, serial, subject } of this.#options.authorities) {
      if (this.#recordedAuthorities.has(thumbprint)) continue;
      this.#options.onFinding({ code: 'authorityNotRecorded', serial, issuer: undefined, agent: undefined, message: `the store has no row for the CA certificate of ${formatName(subject)}` });
    }
  }

  /** Only what may occur twice is looked at again, in a second pass. */
  async #repetitions(): Promise<void> {
    const serials = this.#serials.repeated();
    const keys = this.#liveKeys.repeated();
    if (serials.size + keys.size === 0) return;
    const bySerial = new Map<string, CertificateRecord>();
    const byKey = new Map<string, CertificateRecord>();
    for await (const page of this.#options.store.certificatePages()) {
      for (const record of page) {
        const { serial, spkiHash } = readOrRow(record);
        if (serials.has(fingerprintOf(serial))) {
          const first = bySerial.get(serial);
          if (first === undefined) bySerial.set(serial, record);
          else this.#report('serialRepeated', record, `its certificate has the serial ${serial}, as has that of ${first.agent}, issued ${moment(first.createdAt)} by ${first.issuerId}`);
        }
        if (!this.#holdsKey(record) || !keys.has(fingerprintOf(spkiHash))) continue;
        const holder = byKey.get(spkiHash);
        if (holder === undefined) byKey.set(spkiHash, record);
        else if (holder.agent !== record.agent && !(this.#isServer(holder) && this.#isServer(record))) this.#report('keyShared', record, `its key ${spkiHash} is also that of ${holder.agent}, serial ${holder.serial}`);
      }
    }
  }

  /** A key belongs to one agent. A server may have it under several names, a CA under several certificates. */
  #holdsKey(record: CertificateRecord): boolean {
    return roleOf(record) !== 'ca' && (record.state === 'issued' || record.state === 'unknownIssued') && this.#isLive(record);
  }

  /** Agents have a URI, under whatever profile. */
  #isServer(record: CertificateRecord): boolean {
    return roleOf(record) === 'endEntity' && record.uri === undefined;
  }

  /** notAfter is inclusive. A row without a time is not taken for expired. */
  #isLive({ notAfter, state }: CertificateRecord): boolean {
    return state !== 'revoked' && !(this.#startedAt.getTime() >= notAfter.getTime() + 1_000);
  }

  async #readLog(): Promise<number | undefined> {
    const { log, signal } = this.#options;
    if (log === undefined) return undefined;
    let issuances = 0;
    for await (const entry of log(0)) {
      signal?.throwIfAborted();
      this.#logEnd = entry.index + 1;
      if (entry.action === 'issued') {
        this.#loggedIssuances.add(issuanceKey(entry));
        issuances += 1;
      } else this.#loggedRevocations.add(certificateKey(entry));
    }
    return issuances;
  }

  #logged(record: CertificateRecord, certificate: Certificate | undefined): void {
    if (this.#options.log === undefined) return;
    const key = { issuer: record.issuerId, serial: record.serial };
    if (record.state !== 'revoked' && this.#loggedRevocations.has(certificateKey(key))) this.#report('revokedInLog', record, `the audit log says it was revoked, the row says ${record.state}`);
    if (record.der === undefined) return;
    const issued = { ...key, thumbprint: certificate?.thumbprint ?? record.thumbprint };
    this.#storedIssuances.add(issuanceKey(issued));
    if (this.#loggedIssuances.has(issuanceKey(issued))) return;
    // Perhaps issued since the log was read: the log is asked once more.
    if (record.createdAt.getTime() >= this.#startedAt.getTime() - patienceMs) this.#perhapsLogged.set(issuanceKey(issued), { serial: record.serial, issuerId: record.issuerId, agent: record.agent });
    else this.#notInLog(record);
  }

  async #recentInLog(): Promise<void> {
    const { log } = this.#options;
    if (log === undefined || this.#perhapsLogged.size === 0) return;
    for await (const entry of log(this.#logEnd)) if (entry.action === 'issued') this.#perhapsLogged.delete(issuanceKey(entry));
    for (const record of this.#perhapsLogged.values()) this.#notInLog(record);
  }

  #notInLog(record: Subject): void {
    this.#report('notInLog', record, 'the audit log has no entry that this certificate was issued');
  }

  async #goneFromStore(): Promise<void> {
    const { log, onFinding } = this.#options;
    if (log === undefined) return;
    for await (const entry of log(0)) {
      if (entry.action !== 'issued' || this.#storedIssuances.has(issuanceKey(entry))) continue;
      // Rows of what has expired may be tidied away; what was issued since is not compared.
      if (entry.notAfter === undefined || this.#startedAt.getTime() >= entry.notAfter.getTime() + 1_000 || !this.#loggedIssuances.has(issuanceKey(entry))) continue;
      onFinding({ code: 'notInStore', serial: entry.serial, issuer: entry.issuer, agent: entry.agent, message: `the audit log says it was issued, valid until ${moment(entry.notAfter)}, and the store does not have that certificate` });
    }
  }

  async #crls(): Promise<{ readonly crls: number; readonly crlEntries: number }> {
    const { store, clock, onFinding } = this.#options;
    let crls = 0;
    let crlEntries = 0;
    for (const { certificate } of this.#issuers.all()) {
      // A CA that has expired publishes no more.
      if (this.#startedAt.getTime() >= certificate.notAfter.getTime() + 1_000) continue;
      const read = await auditCrls({ store, issuer: certificate, now: () => clock.now(), onFinding });
      crls += read.crls;
      crlEntries += read.entries;
    }
    return { crls, crlEntries };
  }

  #report(code: AuditCode, { serial, issuerId, agent }: Subject, message: string): void {
    this.#options.onFinding({ code, serial, issuer: issuerId, agent, message });
  }
}

const certificateKey = ({ issuer, serial }: { readonly issuer: IssuerId; readonly serial: SerialHex }): string => `${issuer} ${serial}`;

const issuanceKey = (entry: { readonly issuer: IssuerId; readonly serial: SerialHex; readonly thumbprint: string | undefined }): string => `${certificateKey(entry)} ${entry.thumbprint ?? ''}`;

function readOrRow(record: CertificateRecord): { readonly serial: string; readonly spkiHash: string } {
  try {
    return record.der === undefined ? readTbs(record.tbs) : parseCertificate(record.der);
  } catch {
    return record;
  }
}
