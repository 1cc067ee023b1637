/** From what is configured about the credential of an upstream to what brings it. */
import { resolve } from 'node:path';
import { SallyportError } from '../errors.ts';
import { commonNamePlaceholder, fileCredential, fixedCredential, principalCredential } from '../upstream/http-credential.ts';
import type { UpstreamCredential } from '../upstream/http-credential.ts';

export interface UpstreamCredentialSource {
  /** Default Authorization. */
  readonly header?: string | undefined;
  /** Default Bearer in Authorization, none in other headers. */
  readonly scheme?: string | undefined;
  /** Name of an environment variable. */
  readonly fromEnv?: string | undefined;
  /** Relative to the data directory; with `{commonName}` in it each principal has its own. */
  readonly fromFile?: string | undefined;
  /** Default deny. */
  readonly onMissing?: 'deny' | 'omit' | undefined;
}

export interface UpstreamCredentialWorld {
  readonly upstream: string;
  readonly directory: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** @throws SallyportError `ERR_CONFIG_INVALID`, and `ERR_UPSTREAM_CREDENTIAL` when one for everyone cannot be used now */
export const readUpstreamCredential = async (source: UpstreamCredentialSource, { upstream, directory, env }: UpstreamCredentialWorld): Promise<UpstreamCredential> => {
  const { header = 'Authorization', scheme = header.toLowerCase() === 'authorization' ? 'Bearer' : undefined, fromEnv, fromFile, onMissing = 'deny' } = source;
  const options = { upstream, header, scheme };
  if (fromEnv !== undefined) {
    const secret = env[fromEnv];
    if (secret === undefined || secret === '') throw new SallyportError('ERR_CONFIG_INVALID', `the environment variable ${fromEnv}, with the credential of upstream ${upstream}, is not set: set it where the gateway is started`, { facts: { upstream, variable: fromEnv } });
    return fixedCredential({ ...options, secret, source: fromEnv });
  }
  if (fromFile === undefined) throw new SallyportError('ERR_CONFIG_INVALID', `the credential of upstream ${upstream} comes from nowhere: name fromEnv or fromFile`, { facts: { upstream } });
  const file = resolve(directory, fromFile);
  if (fromFile.includes(commonNamePlaceholder)) return principalCredential({ ...options, pattern: file, onMissing });
  const credential = fileCredential({ ...options, file });
  // Better now than at the first call.
  await credential.of(undefined);
  return credential;
};
