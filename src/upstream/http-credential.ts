/**
 * What an HTTP upstream takes as proof that it may be called: one secret of the gateway's own, or one
 * for each principal. Secrets are read here and go into a header; nothing else ever holds them.
 */
import { open, readdir, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { SallyportError } from '../errors.ts';
import { ownTrust } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';

export interface UpstreamCredential {
  /** Name of the header it goes into. */
  readonly header: string;
  /**
   * The header's value; undefined to send the request without. Principal undefined: for a request of the gateway itself.
   * @throws SallyportError `ERR_UPSTREAM_CREDENTIAL` when there should be one and is none: then nothing is sent
   */
  of(principal: Principal | undefined): Promise<string | undefined>;
}

export interface CredentialOptions {
  readonly upstream: string;
  readonly header: string;
  /** Stands before the secret, with a blank, such as `Bearer`. */
  readonly scheme?: string | undefined;
}

/** One secret for everyone, known when the gateway starts. @throws SallyportError `ERR_UPSTREAM_CREDENTIAL` */
export const fixedCredential = ({ secret, source, ...options }: CredentialOptions & { readonly secret: string; readonly source: string }): UpstreamCredential => {
  const value = valueOf(secret, options, source);
  return { header: options.header, of: () => Promise.resolve(value) };
};

/** One secret for everyone, from a file that is read again when it changed. */
export const fileCredential = ({ file, ...options }: CredentialOptions & { readonly file: string }): UpstreamCredential => {
  const files = new SecretFiles();
  return { header: options.header, of: async () => valueOf(await read(files, file, options), options, file) };
};

export interface PrincipalCredentialOptions extends CredentialOptions {
  /** Absolute, with `{commonName}` where the name of the principal goes. */
  readonly pattern: string;
  readonly onMissing: 'deny' | 'omit';
}

export const commonNamePlaceholder = '{commonName}';

/** A secret for each principal, in a file named by its commonName. */
export const principalCredential = ({ pattern, onMissing, ...options }: PrincipalCredentialOptions): UpstreamCredential => {
  const files = new SecretFiles();
  return {
    header: options.header,
    async of(principal) {
      // What the gateway asks on its own behalf, such as the era, belongs to nobody.
      if (principal === undefined) return undefined;
      const name = fileNameOf(principal);
      if (name === undefined) {
        if (onMissing === 'omit') return undefined;
        throw refused('the commonName of the principal cannot be part of a file name, so it has no credential: issue it a certificate with a plain name', options, { principal: principal.id });
      }
      const file = pattern.replace(commonNamePlaceholder, () => name);
      const secret = await files.read(file);
      if (secret.kind === 'missing' && onMissing === 'omit') return undefined;
      return valueOf(secretOf(secret, file, options), options, file);
    },
  };
};

/** Of another authority's agents in a folder named for it, and only where the name is what they are known by. */
const fileNameOf = ({ id, trust, commonName }: Principal): string | undefined => {
  if (commonName === undefined || !safeSegment.test(commonName)) return undefined;
  if (trust === ownTrust) return commonName;
  return id === `${trust}/cn:${commonName}` ? `${trust}/${commonName}` : undefined;
};

/** The alphabet of our own agents (SPIFFE-ID §2.2), so never a separator, `.` or `..`. */
const safeSegment = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/u;

type Secret =
  | { readonly kind: 'found'; readonly text: string }
  | { readonly kind: 'missing' }
  | { readonly kind: 'unusable'; readonly why: string };

/** Reads small files, and again when they changed. */
class SecretFiles {
  readonly #known = new Map<string, { readonly stamp: string; readonly secret: Secret }>();

  async read(file: string): Promise<Secret> {
    let stamp: string;
    try {
      stamp = stampOf(await stat(file));
    } catch (error) {
      this.#known.delete(file);
      return isMissing(error) ? { kind: 'missing' } : { kind: 'unusable', why: 'cannot be read: check its owner and mode' };
    }
    const known = this.#known.get(file);
    if (known?.stamp === stamp) return known.secret;
    const secret = await readSecret(file);
    // The oldest first: whoever is forgotten is read again.
    if (this.#known.size >= rememberedFiles) for (const first of this.#known.keys()) {
      this.#known.delete(first);
      break;
    }
    this.#known.set(file, { stamp, secret });
    return secret;
  }
}

const rememberedFiles = 10_000;
const longestSecret = 16_384;

const stampOf = ({ mtimeMs, ctimeMs, size, ino }: { readonly mtimeMs: number; readonly ctimeMs: number; readonly size: number; readonly ino: number }): string => `${mtimeMs}:${ctimeMs}:${size}:${ino}`;

const readSecret = async (path: string): Promise<Secret> => {
  try {
    // Where the file system takes upper case for lower case, another agent's name would open this file.
    if (!(await readdir(dirname(path))).includes(basename(path))) return { kind: 'missing' };
    const file = await open(path, 'r');
    try {
      // One descriptor for both, so that the file looked at is the file read.
      const { mode, size } = await file.stat();
      // Windows reports modes of its own making.
      if (process.platform !== 'win32' && (mode & 0o077) !== 0) return { kind: 'unusable', why: `may be read by others (mode ${(mode & 0o777).toString(8)}): run chmod 600 on it, and replace the credential if someone else may have read it` };
      if (size > longestSecret) return { kind: 'unusable', why: `is longer than ${longestSecret} octets: keep one line with the credential in it` };
      return { kind: 'found', text: (await file.readFile('utf8')).replace(/\r?\n$/u, '') };
    } finally {
      await file.close();
    }
  } catch (error) {
    return isMissing(error) ? { kind: 'missing' } : { kind: 'unusable', why: 'cannot be read: check its owner and mode' };
  }
};

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

const read = async (files: SecretFiles, file: string, options: CredentialOptions): Promise<string> => secretOf(await files.read(file), file, options);

const secretOf = (secret: Secret, file: string, options: CredentialOptions): string => {
  if (secret.kind === 'found') return secret.text;
  throw refused(secret.kind === 'missing' ? `there is no credential in ${file}: put one there` : `the credential file ${file} ${secret.why}`, options, { file });
};

/** RFC 9110 §5.5: visible ASCII, blanks only inside. The text itself stays out of the error. */
const valueOf = (secret: string, options: CredentialOptions, source: string): string => {
  if (!/^[\u0021-\u007e](?:[\u0020-\u007e]*[\u0021-\u007e])?$/u.test(secret)) throw refused(`the credential in ${source} is empty or not one line of visible ASCII: correct it`, options, { source });
  return options.scheme === undefined ? secret : `${options.scheme} ${secret}`;
};

const refused = (message: string, { upstream, header }: CredentialOptions, facts: Record<string, string>): SallyportError =>
  new SallyportError('ERR_UPSTREAM_CREDENTIAL', message, { facts: { upstream, header, ...facts } });
