/** The options with which `revoke` and `release` are told which certificates are meant. */
import { hash } from 'node:crypto';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { CertificateAuthority, CertificateRecord, RevokeSelector } from '../../ca/index.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import type { CliIo } from './io.ts';
import { usage } from './cli.ts';
import type { Call } from './cli.ts';
import { moment } from './moment.ts';
import { readBytes } from './read-text.ts';

export interface OneCertificateOptions {
  readonly serial?: string;
  readonly thumbprint?: string;
}

export interface SelectionOptions extends OneCertificateOptions {
  readonly ou?: string;
  readonly key?: string;
  readonly issuer?: string;
  readonly profile?: string;
  readonly issuedAfter?: string;
  readonly issuedBefore?: string;
}

export const oneCertificateOptions = (command: Command): Command =>
  command.option('--serial <hex>', 'one certificate by its serial').option('--thumbprint <hex>', 'one certificate by the SHA-256 of its DER');

export const selectionOptions = (command: Command): Command =>
  oneCertificateOptions(command)
    .option('--ou <unit>', 'those with this organizational unit')
    .option('--key <hash|file>', 'those of this key: SHA-256 of its SubjectPublicKeyInfo, or a file with a certificate or public key')
    .option('--issuer <ca>', 'those this CA issued: its name, as sallyport ca show lists it, or the SHA-256 of its key')
    .option('--profile <profile>', 'those issued by this profile')
    .option('--issued-after <time>', 'those issued at or after this time, such as 2026-11-21T12:00:00Z')
    .option('--issued-before <time>', 'those issued before this time');

/** What can be told without the authority: a slip is reported before a passphrase is asked for. */
export async function selectorOf({ args, options, io }: Pick<Call<SelectionOptions>, 'args' | 'options' | 'io'>): Promise<RevokeSelector & { readonly issuer?: string }> {
  const agent = typeof args[0] === 'string' ? args[0] : undefined;
  const { serial, thumbprint, ou, key, issuer, profile, issuedAfter, issuedBefore } = options;
  return {
    ...(agent === undefined ? {} : { agent }),
    ...(serial === undefined ? {} : { serial: hex(serial, '--serial', /^[0-9a-f]{1,40}$/) }),
    ...(thumbprint === undefined ? {} : { thumbprint: hex(thumbprint, '--thumbprint', /^[0-9a-f]{64}$/) }),
    ...(ou === undefined ? {} : { organizationalUnit: ou }),
    ...(key === undefined ? {} : { spkiHash: await spkiHashOf(key, io) }),
    ...(issuer === undefined ? {} : { issuer: isName(issuer) ? issuer : hex(issuer, '--issuer', /^[0-9a-f]{64}$/) }),
    ...(profile === undefined ? {} : { profile }),
    ...(issuedAfter === undefined ? {} : { issuedFrom: moment(issuedAfter) }),
    ...(issuedBefore === undefined ? {} : { issuedBefore: moment(issuedBefore) }),
  };
}

/** Issuers by name are those of this authority. */
export const withIssuer = ({ issuer, ...selector }: RevokeSelector & { readonly issuer?: string }, authority: Pick<CertificateAuthority, 'issuers'>): RevokeSelector => {
  if (issuer === undefined) return selector;
  if (!isName(issuer)) return { ...selector, issuerId: issuer };
  const named = authority.issuers.find(({ name }) => name === issuer);
  if (named === undefined) throw usage(`there is no CA named ${issuer}: use one of ${authority.issuers.map(({ name }) => name).join(', ')}`);
  return { ...selector, issuerId: named.id };
};

/** `root`, `issuing`, `issuing-2`; never as long as a hash. */
const isName = (issuer: string): boolean => /^[a-z][a-z0-9-]{0,31}$/.test(issuer);

/** How a certificate is told in JSON. */
export const certificateOf = (record: CertificateRecord) => ({
  agent: record.agent,
  serial: record.serial,
  thumbprint: record.thumbprint ?? null,
  subject: record.subject,
  notAfter: record.notAfter,
  revokedAt: record.revokedAt ?? null,
  reason: record.revocationReason ?? null,
});

/** As OpenSSL prints them: with colons, in upper case. */
function hex(text: string, option: string, form: RegExp): string {
  const digits = text.replaceAll(':', '').toLowerCase();
  if (!form.test(digits)) throw usage(`${option} ${text} is not one: copy its hexadecimal digits from sallyport inventory --json, or from openssl x509 -serial or -fingerprint -sha256`);
  return digits;
}

async function spkiHashOf(key: string, io: CliIo): Promise<string> {
  const digits = key.replaceAll(':', '').toLowerCase();
  if (/^[0-9a-f]{64}$/.test(digits)) return digits;
  const bytes = await readBytes(resolve(io.cwd, key));
  if (bytes[0] === 0x30) return parseCertificate(Uint8Array.from(bytes)).spkiHash;
  for (const { label, der } of decodePem(bytes.toString('latin1'))) {
    if (label === 'CERTIFICATE') return parseCertificate(der).spkiHash;
    if (label === 'PUBLIC KEY') return hash('sha256', der, 'hex');
  }
  throw usage(`--key ${key} holds neither a certificate nor a public key: give either, or the SHA-256 of the SubjectPublicKeyInfo`);
}
