/** An identity directory, read strictly: what `issue --out` and `enroll` write and every part of the bridge presents. */
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SallyportError } from '../errors.ts';

/** A key, its certificate and whom to trust, checked to belong together. */
export interface Identity {
  readonly name: string;
  /** Where it was read from. */
  readonly directory: string;
  readonly key: KeyObject;
  readonly leaf: X509Certificate;
  /** Issuing CAs behind the leaf, each signed by the next. The gateway knows them: only the leaf is sent. */
  readonly intermediates: readonly X509Certificate[];
  /** Roots that the gateway's certificate is verified against. */
  readonly roots: readonly X509Certificate[];
  /** MCP endpoint this identity was issued for. */
  readonly gateway: string | undefined;
  readonly renewal: string | undefined;
  /** Lower-case hex, no leading 00. */
  readonly serial: string;
  /** Lower-case hex SHA-256 of the leaf's DER. */
  readonly thumbprint: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

export interface LoadIdentityOptions {
  /** Opens an encrypted `key.pem`. */
  readonly passphrase?: string | undefined;
  /** What to do with a private key that others may read. Default `refuse`. */
  readonly onReadableKey?: 'refuse' | 'accept';
}

/** File names of the parts, as `identity.json` gives them. */
export interface IdentityFile {
  readonly version: 1;
  readonly name: string;
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
  /** Directory within that holds the three, since the first renewal: naming another exchanges all of them at once. */
  readonly pair?: string | undefined;
  readonly gateway?: string | undefined;
  readonly renewal?: string | undefined;
}

export const identityFileName = 'identity.json';

/**
 * Reads and checks an identity directory. Rejects with `ERR_BRIDGE_IDENTITY`, or `ERR_KEY_PASSPHRASE` in `facts.reason`.
 * The files are several and may be exchanged while they are read: what does not fit together is read again until it does or stays as it is.
 */
export async function loadIdentity(directory: string, options: LoadIdentityOptions = {}): Promise<Identity> {
  let before: string | undefined;
  for (let attempt = 1; ; attempt += 1) {
    const parts = await readParts(directory);
    try {
      return await identityOf(directory, parts, options);
    } catch (error) {
      const seen = JSON.stringify(parts);
      if (attempt === mostReadings || seen === before) throw error;
      before = seen;
    }
  }
}

const mostReadings = 5;

/** The text of a file, or why there is none. */
type Part = { readonly text: string } | { readonly code: string };

interface Parts {
  readonly identity: Part;
  readonly key: Part;
  readonly certificate: Part;
  readonly ca: Part;
}

async function readParts(directory: string): Promise<Parts> {
  const identity = await readPart(join(directory, identityFileName));
  let file: IdentityFile | undefined;
  try {
    if ('text' in identity) file = parseIdentityFile(identity.text, directory);
  } catch {
    // Said when it is parsed for good.
  }
  if (file === undefined) return { identity, key: { code: '' }, certificate: { code: '' }, ca: { code: '' } };
  const [key, certificate, ca] = await Promise.all([file.key, file.certificate, file.ca].map((name) => readPart(partPath(directory, file, name))));
  return { identity, key: key ?? { code: '' }, certificate: certificate ?? { code: '' }, ca: ca ?? { code: '' } };
}

async function identityOf(directory: string, parts: Parts, options: LoadIdentityOptions): Promise<Identity> {
  const file = parseIdentityFile(textOf(directory, identityFileName, parts.identity), directory);
  const keyPem = textOf(directory, file.key, parts.key);
  const certificatePem = textOf(directory, file.certificate, parts.certificate);
  const caPem = textOf(directory, file.ca, parts.ca);
  if (options.onReadableKey !== 'accept') await refuseReadableKey(directory, file);

  const key = openKey(keyPem, directory, file.key, options.passphrase);
  const [leaf, ...intermediates] = readCertificates(certificatePem, directory, file.certificate);
  const roots = readCertificates(caPem, directory, file.ca);
  if (leaf === undefined) throw unusable(directory, `${file.certificate} holds no certificate`);
  if (leaf.ca) throw unusable(directory, `the first certificate of ${file.certificate} is a CA certificate; put the agent's own certificate first`);
  if (!samePublicKey(key, leaf)) throw unusable(directory, `${file.key} is not the key of the first certificate in ${file.certificate}`);
  refuseDisorder(directory, file.certificate, [leaf, ...intermediates]);
  const foreign = roots.find((root) => !root.ca);
  if (foreign !== undefined) throw unusable(directory, `${file.ca} holds a certificate that is not a CA's`);

  return {
    name: file.name,
    directory,
    key,
    leaf,
    intermediates,
    roots,
    gateway: file.gateway,
    renewal: file.renewal,
    serial: serialOf(leaf),
    thumbprint: createHash('sha256').update(leaf.raw).digest('hex'),
    notBefore: leaf.validFromDate,
    notAfter: leaf.validToDate,
  };
}

const httpsAddress = z.url({ protocol: /^https$/u });
/** A name inside the directory: identities are moved and mounted as a whole. */
const partName = z.string().regex(/^(?!\.{1,2}$)[^/\\\0]+$/u, 'must be a file name inside the identity directory');

const identitySchema = z.strictObject({
  version: z.literal(1),
  name: z.string().min(1),
  key: partName,
  certificate: partName,
  ca: partName,
  pair: partName.optional(),
  gateway: httpsAddress.optional(),
  renewal: httpsAddress.optional(),
});

/** Parses the text of an `identity.json`; unknown keys are refused. */
export function parseIdentityFile(text: string, directory: string): IdentityFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw unusable(directory, `${identityFileName} is not JSON`, cause);
  }
  const parsed = identitySchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const at = issue === undefined || issue.path.length === 0 ? '' : ` at ${issue.path.join('.')}`;
    throw unusable(directory, `${identityFileName} is not valid${at}: ${issue?.message ?? 'unreadable'}`);
  }
  return parsed.data;
}

/** Lower-case hex of the serial as the CA writes it. */
export const serialOf = (certificate: X509Certificate): string => certificate.serialNumber.toLowerCase().replace(/^(?:00)+(?=.)/u, '');

/** Whether a private key belongs to a certificate, for every algorithm OpenSSL knows. */
export function samePublicKey(key: KeyObject, certificate: X509Certificate): boolean {
  const own = createPublicKey(key).export({ type: 'spki', format: 'der' });
  return own.equals(certificate.publicKey.export({ type: 'spki', format: 'der' }));
}

/** Splits PEM text into certificates; throws when anything in it is not one. */
export function certificatesOf(pem: string): readonly X509Certificate[] {
  const blocks = pem.match(/-----BEGIN [^-]+-----[\s\S]*?-----END [^-]+-----/gu) ?? [];
  return blocks.map((block) => new X509Certificate(block));
}

/** Where a file that `identity.json` names lies. */
export const partPath = (directory: string, { pair }: Pick<IdentityFile, 'pair'>, name: string): string => (pair === undefined ? join(directory, name) : join(directory, pair, name));

async function readPart(path: string): Promise<Part> {
  try {
    return { text: await readFile(path, 'utf8') };
  } catch (cause) {
    return { code: (cause as NodeJS.ErrnoException).code ?? 'unknown' };
  }
}

function textOf(directory: string, name: string, part: Part): string {
  if ('text' in part) return part.text;
  const next = name === identityFileName ? '; give the directory that sallyport issue --out or sallyport enroll --out wrote' : '';
  throw unusable(directory, `${name} ${part.code === 'ENOENT' ? 'does not exist' : `cannot be read (${part.code})`}${next}`);
}

async function refuseReadableKey(directory: string, file: IdentityFile): Promise<void> {
  // Windows has no mode bits: its access lists are left to the operator.
  if (process.platform === 'win32') return;
  const path = partPath(directory, file, file.key);
  const mode = await stat(path).then((found) => found.mode, (cause: unknown) => {
    throw unusable(directory, `${file.key} cannot be read (${(cause as NodeJS.ErrnoException).code ?? 'unknown'})`, cause);
  });
  if ((mode & 0o077) !== 0) {
    throw unusable(directory, `${file.key} is readable by others (mode ${(mode & 0o777).toString(8)}); run: chmod 600 ${path}`, undefined, 'ERR_KEY_MODE');
  }
}

export const isEncrypted = (pem: string): boolean => /-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/mu.test(pem);

/** For a passphrase that was given on purpose: a setting that opens nothing is a mistake someone should hear of. */
export async function refuseIdlePassphrase(directory: string): Promise<void> {
  const { identity, key } = await readParts(directory);
  const file = parseIdentityFile(textOf(directory, identityFileName, identity), directory);
  if (!isEncrypted(textOf(directory, file.key, key))) throw unusable(directory, `a passphrase is given and ${file.key} is not encrypted; leave the passphrase out, or encrypt the key`);
}

function openKey(pem: string, directory: string, name: string, passphrase: string | undefined): KeyObject {
  const encrypted = isEncrypted(pem);
  if (encrypted && passphrase === undefined) {
    throw unusable(directory, `${name} is encrypted; give its passphrase with --passphrase-file or SALLYPORT_PASSPHRASE`, undefined, 'ERR_KEY_PASSPHRASE');
  }
  try {
    return createPrivateKey(encrypted ? { key: pem, passphrase: passphrase ?? '' } : pem);
  } catch (cause) {
    if (encrypted) throw unusable(directory, `the passphrase does not open ${name}`, cause, 'ERR_KEY_PASSPHRASE');
    throw unusable(directory, `${name} is not a PEM private key`, cause, 'ERR_KEY_UNREADABLE');
  }
}

function readCertificates(pem: string, directory: string, name: string): readonly X509Certificate[] {
  let certificates: readonly X509Certificate[];
  try {
    certificates = certificatesOf(pem);
  } catch (cause) {
    throw unusable(directory, `${name} is not a PEM certificate`, cause);
  }
  if (certificates.length === 0) throw unusable(directory, `${name} holds no certificate`);
  return certificates;
}

function refuseDisorder(directory: string, name: string, path: readonly X509Certificate[]): void {
  for (const [index, certificate] of path.entries()) {
    const issuer = path[index + 1];
    if (issuer !== undefined && !isIssuedBy(certificate, issuer)) {
      throw unusable(directory, `certificate ${index + 1} of ${name} is not signed by the one after it; order them leaf first, then its issuing CA`);
    }
  }
}

/** Name, key identifiers and signature: `issuer` is a CA and signed `certificate`. */
export const isIssuedBy = (certificate: X509Certificate, issuer: X509Certificate): boolean =>
  issuer.ca && certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);

const unusable = (directory: string, what: string, cause?: unknown, reason?: string): SallyportError =>
  new SallyportError('ERR_BRIDGE_IDENTITY', `the identity in ${directory} cannot be used: ${what}`, { facts: { directory, reason }, cause });
