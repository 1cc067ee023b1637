/** What `sallyport issue` is asked for, and what came of it, wherever it was issued. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { IssuedCertificate } from '../../ca/index.ts';
import { SallyportError } from '../errors.ts';
import type { GrantSummary } from '../policy/summary.ts';
import { usage } from './cli.ts';
import type { RemoteOptions } from './remote.ts';

export interface IssueOptions extends RemoteOptions {
  readonly ou?: readonly string[];
  readonly profile: string;
  readonly ttl?: string;
  readonly csr?: string;
  readonly out?: string;
  readonly host?: readonly string[];
  readonly allowRevoked?: boolean;
  readonly email?: string;
}

/** What was issued, wherever that was. */
export interface Outcome {
  readonly certificate: Pick<IssuedCertificate, 'agent' | 'serial' | 'thumbprint' | 'subject' | 'organizationalUnits' | 'uri' | 'notBefore' | 'notAfter' | 'profile' | 'chain'>;
  readonly files: readonly string[];
  readonly grants: readonly GrantSummary[];
  /** Of the profile. */
  readonly kind: string | undefined;
  readonly gatewayUrl: string;
}

export function checkOptions({ email, ou, host }: IssueOptions, kind: string | undefined): void {
  if (kind === 'server') {
    if (email !== undefined) throw usage('a server certificate has no email address: leave out --email');
    if (ou !== undefined) throw usage('a server certificate has no organizational unit: leave out --ou');
  } else if (host !== undefined) throw usage('--host is for --profile server: leave it out');
}

export async function writeCertificate(target: string, { serial, chain }: Pick<IssuedCertificate, 'serial' | 'chain'>): Promise<readonly string[]> {
  const file = join(target, 'cert.pem');
  try {
    await mkdir(target, { recursive: true, mode: 0o700 });
    await writeFile(file, chain, { flag: 'wx', mode: 0o644 });
  } catch (cause) {
    throw new SallyportError('ERR_CONFIG_EXISTS', `certificate ${serial} was issued but cannot be written to ${file} (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}): revoke it, and give another directory with --out`, { facts: { file, serial }, cause });
  }
  return ['cert.pem'];
}
