/** The result of `sallyport verify`, as text and as JSON. */
import type { CaError } from '../../ca/errors.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName } from '../../ca/x509/name.ts';
import type { Purpose } from '../../ca/x509/path/purpose.ts';
import type { CertificateStatus, PathRefusal, PathVerdict, VerifiedPath } from '../../ca/x509/path/verdict.ts';
import { printable } from './output.ts';
import type { Output } from './output.ts';
import { pathAdvice } from './verify-advice.ts';

export type FileResult = { readonly file: string; readonly problems: readonly string[] } & (
  | { readonly verdict: PathVerdict; readonly malformed?: undefined }
  /** The certificate could not even be read. */
  | { readonly malformed: CaError; readonly verdict?: undefined }
);

interface Context {
  readonly at: Date;
  readonly purpose: Purpose;
  readonly output: Output;
}

/** For what cannot even be read. */
const unread = (error: CaError) => ({
  code: error.code,
  reason: error.message,
  ...(error.code === 'ERR_PEM_INVALID' ? { clause: 'RFC 7468 §3', next: 'give a certificate in PEM or DER' } : { clause: 'RFC 5280 §4.1', next: pathAdvice.ERR_CERTIFICATE_INVALID }),
});

export function jsonOf({ file, problems, verdict, malformed }: FileResult): object {
  if (verdict === undefined) return { file, ok: false, ...unread(malformed), certificate: null, path: [], warnings: problems };
  if (!verdict.ok) {
    const { code, reason, clause } = verdict;
    return { file, ok: false, code, reason, clause, next: pathAdvice[code], certificate: factsOf(verdict.at), path: verdict.path.map(factsOf), warnings: problems };
  }
  return {
    file,
    ok: true,
    path: verdict.path.map((certificate, index) => ({ ...factsOf(certificate), status: statusWord(verdict.statuses[index]) })),
    anchor: factsOf(verdict.anchor),
    policies: verdict.policies,
    expiresAt: verdict.expiresAt,
    warnings: [...problems, ...verdict.warnings.map(({ at, text }) => `${formatName(at.subject)}: ${text}`)],
  };
}

export function describeResult(result: FileResult, context: Context): string {
  const { verdict, problems, file, malformed } = result;
  const { output } = context;
  const notes = problems.map((problem) => `  ${output.paint('yellow', 'warning')} ${problem}`);
  if (verdict === undefined) {
    const { code, reason, clause, next } = unread(malformed);
    return [refusalLine(file, printable(reason), output), `  ${code}, ${clause}`, `  → ${next}`, ...notes].join('\n');
  }
  return [...(verdict.ok ? accepted(verdict, file, context) : refused(verdict, file, context)), ...notes].join('\n');
}

function accepted(verdict: VerifiedPath, file: string, { purpose, at, output }: Context): readonly string[] {
  const { path, anchor, statuses, warnings, policies, expiresAt } = verdict;
  const last = path.length - 1;
  const entries = path
    .map((certificate, index) => ({ certificate, lines: [...particulars(certificate), statusLine(statuses[index])] }))
    // A root that was asked about is its own anchor.
    .filter(({ certificate }) => certificate.thumbprint !== anchor.thumbprint)
    .toReversed();
  const [rights = '', ...further] = particulars(anchor);
  const known = policies.length === 0 ? 'none' : policies.map((policy) => (policy === '2.5.29.32.0' ? 'any' : policy)).join(', ');
  return [
    `${output.paint('green', '✔')} ${printable(file)} is valid${purpose === 'any' ? '' : ` as a ${purpose}`}, until ${minute(expiresAt)}`,
    '',
    ...tree([{ certificate: anchor, lines: [`trust anchor · ${rights}`, ...further] }, ...entries], output),
    '',
    `  checked at ${minute(at)}: ${last + 1} signature${last === 0 ? '' : 's'}, names, validity, CA rights and path length, critical extensions, name constraints, policies (${known}), ${purpose === 'any' ? 'no purpose' : `purpose ${purpose}`}, revocation`,
    ...warnings.map(({ at: about, text }) => `  ${output.paint('yellow', 'warning')} ${nameOf(about)}: ${printable(text)}`),
  ];
}

function refused(verdict: PathRefusal, file: string, { output }: Context): readonly string[] {
  const { code, reason, clause, path, at } = verdict;
  const entries = path.map((certificate) => ({ certificate, lines: certificate === at ? [output.paint('red', `✘ ${printable(reason)}`)] : particulars(certificate) })).toReversed();
  return [
    refusalLine(file, path.length === 1 ? printable(reason) : `${nameOf(at)}: ${printable(reason)}`, output),
    `  ${code}, ${clause}`,
    `  → ${pathAdvice[code]}`,
    '',
    ...tree(entries, output),
  ];
}

const refusalLine = (file: string, why: string, output: Output): string => `${output.paint('red', '✘')} ${printable(file)} is refused: ${why}`;

/** From the anchor down, each one further in. */
function tree(entries: readonly { readonly certificate: Certificate; readonly lines: readonly string[] }[], output: Output): readonly string[] {
  return entries.flatMap(({ certificate, lines }, depth) => {
    const indent = '  '.repeat(depth + 1);
    return [`${indent}${depth === 0 ? '' : '└─ '}${output.paint('bold', nameOf(certificate))}`, ...lines.map((line) => `${indent}${depth === 0 ? '  ' : '     '}${line}`)];
  });
}

function particulars(certificate: Certificate): readonly string[] {
  const { basicConstraints, notBefore, notAfter, serial } = certificate;
  const names = namesOf(certificate);
  const rights = basicConstraints?.ca === true ? [`CA${basicConstraints.pathLen === undefined ? '' : `, pathLen ${basicConstraints.pathLen}`}`] : [];
  return [[...rights, `${minute(notBefore)} to ${minute(notAfter)}`].join(' · '), `serial ${serial}`, ...(names.length === 0 ? [] : [names.map(printable).join(', ')])];
}

function namesOf({ uris, dnsNames, emails, ipAddresses, otherNames }: Certificate): readonly string[] {
  return [...uris.map((name) => `URI:${name}`), ...dnsNames.map((name) => `DNS:${name}`), ...emails.map((name) => `email:${name}`), ...ipAddresses.map((name) => `IP:${name}`), ...(otherNames.length === 0 ? [] : [`${otherNames.length} of other kinds`])];
}

function statusLine(status: CertificateStatus | undefined): string {
  switch (status?.status) {
    case 'good':
      return `not revoked: ${printable(status.source)}`;
    case 'notPublished':
      return 'its CA publishes no status of it (noRevAvail)';
    default:
      return 'nobody says whether it was revoked';
  }
}

const statusWord = (status: CertificateStatus | undefined): object | null => (status === undefined ? null : status);

function factsOf(certificate: Certificate): object {
  const { subject, issuer, serial, thumbprint, notBefore, notAfter } = certificate;
  return { subject: formatName(subject), issuer: formatName(issuer), serial, thumbprint, notBefore, notAfter, names: namesOf(certificate) };
}

const nameOf = (certificate: Certificate): string => printable(formatName(certificate.subject)) || `(no subject) serial ${certificate.serial}`;

const minute = (time: Date): string => `${time.toISOString().slice(0, 16).replace('T', ' ')} UTC`;
