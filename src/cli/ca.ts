/** `sallyport ca audit`: everything the authority ever issued, looked over again. */
import { auditAuthority } from '../../ca/audit/authority.ts';
import type { AuthorityAuditSummary } from '../../ca/audit/authority.ts';
import { auditAdvice } from '../../ca/audit/finding.ts';
import type { AuditCode, AuditFinding } from '../../ca/audit/finding.ts';
import { profilesOfAuthority } from '../../ca/profile.ts';
import { authorityOptions, openForReading } from '../app/deployment.ts';
import { readKnownAuthorities } from '../app/known-authorities.ts';
import { certificateEntries } from '../audit/certificate-entries.ts';
import type { ExitCode } from '../errors.ts';
import { registerCaAccept } from './ca-accept.ts';
import { registerCaImportCrl } from './ca-import-crl.ts';
import { registerCaBundle } from './ca-bundle.ts';
import { registerCaRotate } from './ca-rotate.ts';
import { registerCaSign } from './ca-sign.ts';
import { registerCaShow } from './ca-show.ts';
import { common } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import type { CliIo } from './io.ts';
import { printable } from './output.ts';
import type { Output } from './output.ts';

interface AuditOptions {
  readonly log: boolean;
}

export const registerCa: RegisterCommand = (program, cli) => {
  const ca = program.command('ca').description('look after the certificate authority');
  const audit = ca
    .command('audit')
    .description('check every stored certificate, the CRLs and the audit log against each other; exit code 3 when something is wrong')
    .option('--no-log', 'do not compare with the audit log, whose every entry is read');
  common(audit, ['sallyport ca audit', 'sallyport ca audit --json', 'sallyport ca audit --no-log']);
  audit.action(cli.action<AuditOptions>(auditCa));
  registerCaShow(ca, cli);
  registerCaRotate(ca, cli);
  registerCaSign(ca, cli);
  registerCaAccept(ca, cli);
  registerCaImportCrl(ca, cli);
  registerCaBundle(ca, cli);
};

/** Findings that are told one by one; the others are counted. */
const shown = 1_000;

async function auditCa(call: Call<AuditOptions>): Promise<ExitCode> {
  const { io, options, output, directory } = call;
  const { config, store, close } = await openForReading(directory, io.clock);
  const findings = new Findings();
  const progress = new Progress(io, output);
  try {
    const authority = authorityOptions(config, store, io);
    const summary = await auditAuthority({
      store: store.ca,
      clock: io.clock,
      trustDomain: config.trustDomain,
      profiles: profilesOfAuthority(authority),
      authorities: await readKnownAuthorities(config.directory),
      log: options.log ? (from) => certificateEntries(store.audit, from) : undefined,
      signal: io.signal,
      onFinding: (finding) => {
        findings.add(finding);
      },
      onProgress: (done, total) => {
        progress.tell(done, total);
      },
    });
    output.result({ ok: findings.total === 0, ...summary, logged: summary.logged ?? null, counts: findings.counts(), findings: findings.first.map(jsonOf) }, () => describe(summary, findings, output));
    return findings.total === 0 ? 0 : 3;
  } catch (error) {
    if (!io.signal.aborted) throw error;
    output.warn(`stopped before the end, with ${findings.total === 1 ? '1 finding' : `${findings.total} findings`} so far: run it again`);
    return 1;
  } finally {
    await close();
  }
}

class Findings {
  readonly first: AuditFinding[] = [];
  total = 0;
  readonly #counts = new Map<AuditCode, number>();

  add(finding: AuditFinding): void {
    this.total += 1;
    this.#counts.set(finding.code, (this.#counts.get(finding.code) ?? 0) + 1);
    if (this.first.length < shown) this.first.push(finding);
  }

  counts(): Readonly<Record<string, number>> {
    return Object.fromEntries(this.#counts);
  }
}

/** Nothing within the first second, then a line a second. */
class Progress {
  readonly #io: CliIo;
  readonly #output: Output;
  #next: number;

  constructor(io: CliIo, output: Output) {
    this.#io = io;
    this.#output = output;
    this.#next = io.clock.now().getTime() + 1_000;
  }

  tell(done: number, total: number): void {
    const now = this.#io.clock.now().getTime();
    if (now < this.#next) return;
    this.#next = now + 1_000;
    this.#output.note(`looked at ${done} of ${certificates(total)}`);
  }
}

const jsonOf = ({ code, serial, issuer, agent, message }: AuditFinding): object => ({ code, serial: serial ?? null, issuer: issuer ?? null, agent: agent ?? null, message, next: auditAdvice[code] });

function describe({ certificates: count, crls, crlEntries, logged }: AuthorityAuditSummary, findings: Findings, output: Output): string {
  const crlWord = `${crls === 1 ? '1 CRL' : `${crls} CRLs`} with ${crlEntries === 1 ? '1 entry' : `${crlEntries} entries`}`;
  const scope = `${certificates(count)}, ${crlWord}, ${logged === undefined ? 'audit log not asked' : `${logged === 1 ? '1 issuance' : `${logged} issuances`} in the audit log`}`;
  if (findings.total === 0) return `${output.paint('green', 'clean')}: ${scope}`;
  return [
    `${output.paint('red', findings.total === 1 ? '1 finding' : `${findings.total} findings`)}: ${scope}`,
    ...findings.first.flatMap((finding) => lines(finding, output)),
    ...(findings.total > findings.first.length ? [`  and ${findings.total - findings.first.length} more: ${Object.entries(findings.counts()).map(([code, times]) => `${times} ${code}`).join(', ')}`] : []),
  ].join('\n');
}

function lines({ code, serial, agent, message }: AuditFinding, output: Output): readonly string[] {
  const about = [...(serial === undefined ? [] : [`serial ${serial}`]), ...(agent === undefined ? [] : [`(${agent})`])].join(' ');
  return [`  ${output.paint('bold', code)} ${printable(about === '' ? message : `${about}: ${message}`)}`, `    → ${auditAdvice[code]}`];
}

const certificates = (count: number): string => (count === 1 ? '1 certificate' : `${count} certificates`);
