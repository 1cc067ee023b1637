/** The options that say where root and issuing CA of a new data directory come from. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Option } from 'commander';
import { caKeyOf, tokenCaKey } from '../../ca/ca-key.ts';
import type { KeyAlgorithm } from '../../ca/index.ts';
import { readForeignFile } from '../../ca/import/foreign-file.ts';
import type { ForeignFile } from '../../ca/import/foreign-file.ts';
import { authorityKeyOf, importedPath, importedRoot } from '../../ca/import/imported-authority.ts';
import type { ImportRemark } from '../../ca/import/imported-authority.ts';
import { CaError } from '../../ca/errors.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName } from '../../ca/x509/name.ts';
import type { AuthoritySource } from '../app/founding.ts';
import { collect, usage } from './cli.ts';
import type { CliIo } from './io.ts';
import { readBytes, readText } from './read-text.ts';
import { askSecret } from './secret-prompt.ts';

/** What a CA may have. */
export const caAlgorithms = ['p256', 'p384', 'ed25519', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const satisfies readonly KeyAlgorithm[];

export interface AuthoritySourceOptions {
  readonly root?: string;
  readonly rootKey?: string;
  readonly issuing?: string;
  readonly issuingKey?: string;
  readonly chain?: readonly string[];
  readonly importPassphraseFile?: string;
  readonly keyUri?: string;
  readonly rootKeyUri?: string;
  readonly rootKeyAlgorithm?: KeyAlgorithm;
  readonly permitDns?: readonly string[];
  readonly permitTrustDomain?: boolean;
}

export const authoritySourceOptions = (command: Command): Command =>
  command
    .addOption(new Option('--root-key-algorithm <algorithm>', 'key of the root (default: --key-algorithm)').choices(caAlgorithms))
    .option('--root <file>', 'use this root: PEM, DER or PKCS#12; without its key the issuing CA waits for a certificate')
    .option('--root-key <file>', 'private key of --root, when that file does not hold it')
    .option('--issuing <file>', 'use this issuing CA, under --root; PKCS#12 with its key, or its certificate')
    .option('--issuing-key <file>', 'private key of --issuing, when that file does not hold it')
    .option('--chain <file>', 'CA certificates between --issuing and --root; may be repeated', collect)
    .option('--import-passphrase-file <file>', 'file with the passphrase of imported keys (default: $SALLYPORT_IMPORT_PASSPHRASE, else the terminal)')
    .option('--key-uri <uri>', 'keep the key of the issuing CA on a PKCS#11 token: pkcs11:token=…;object=…?module-path=…&pin-source=…')
    .option('--root-key-uri <uri>', 'keep the key of the root on a PKCS#11 token')
    .option('--permit-dns <domain>', 'confine the issuing CA to the trust domain and to this DNS domain; may be repeated', collect)
    .option('--permit-trust-domain', 'confine the issuing CA to the trust domain, with any DNS names');

export interface ReadSource {
  readonly source: AuthoritySource;
  /** How what was imported differs from what is made here. */
  readonly remarks: readonly ImportRemark[];
  /** Whether a root was given whose key stays elsewhere, with nothing under it yet. */
  readonly waits: boolean;
}

export async function readAuthoritySource(io: CliIo, options: AuthoritySourceOptions, world: { readonly keyAlgorithm: KeyAlgorithm; readonly passphrase: string | undefined }): Promise<ReadSource> {
  const { root: rootFile, issuing: issuingFile } = options;
  checkTogether(options);
  const files = new ForeignFiles(io, options.importPassphraseFile);
  const now = io.clock.now();
  const pin = world.passphrase;
  const rootKeyAlgorithm = options.rootKeyAlgorithm ?? world.keyAlgorithm;
  const confined = options.permitDns !== undefined || options.permitTrustDomain === true ? { permittedDnsNames: options.permitDns ?? [] } : {};
  const issuingKeyUri = options.keyUri === undefined ? undefined : await tokenCaKey(options.keyUri, world.keyAlgorithm, { pin });
  if (rootFile === undefined) {
    const rootKey = options.rootKeyUri === undefined ? undefined : await tokenCaKey(options.rootKeyUri, rootKeyAlgorithm, { pin });
    return { source: { rootKeyAlgorithm, ...confined, ...(rootKey === undefined ? {} : { rootKey }), ...(issuingKeyUri === undefined ? {} : { issuingKey: issuingKeyUri }) }, remarks: [], waits: false };
  }

  const rootFound = await files.read(rootFile);
  const root = selfSigned(rootFound.certificates, rootFile);
  const remarks = [...importedRoot(root, now)];
  const rootKeys = [...rootFound.keys, ...(options.rootKey === undefined ? [] : (await files.read(options.rootKey)).keys)];
  const rootKey = rootKeys.length === 0 ? undefined : caKeyOf(authorityKeyOf(root, rootKeys));
  const common = { ...confined, root, ...(rootKey === undefined ? {} : { rootKey }) };
  if (issuingFile === undefined) {
    return { source: { ...common, ...(issuingKeyUri === undefined ? {} : { issuingKey: issuingKeyUri }) }, remarks, waits: rootKey === undefined };
  }

  const found = await files.read(issuingFile);
  const keys = [...found.keys, ...(options.issuingKey === undefined ? [] : (await files.read(options.issuingKey)).keys)];
  const chain = [...found.certificates, ...(await files.certificates(options.chain ?? []))];
  const certificate = issuingOf(found, { keys, file: issuingFile, root });
  const path = importedPath(certificate, { root, intermediates: chain }, now);
  const issuingKey = issuingKeyUri ?? caKeyOf(authorityKeyOf(certificate, keys));
  return { source: { ...common, issuing: { certificate, intermediates: chain }, issuingKey }, remarks: [...remarks, ...path.remarks], waits: false };
}

export const remarkLines = (remarks: readonly ImportRemark[]): readonly string[] => remarks.map(({ certificate, text }) => `${formatName(certificate.subject)}: ${text}`);

/** Reads files, asking for their passphrase once, when one needs it. */
export class ForeignFiles {
  readonly #io: CliIo;
  readonly #passphraseFile: string | undefined;
  #passphrase: string | undefined;

  constructor(io: CliIo, passphraseFile: string | undefined) {
    this.#io = io;
    this.#passphraseFile = passphraseFile;
  }

  async read(file: string): Promise<ForeignFile> {
    const octets = await readBytes(resolve(this.#io.cwd, file));
    try {
      return await readForeignFile(octets, { passphrase: this.#passphrase, path: file });
    } catch (error) {
      if (!(error instanceof CaError && error.code === 'ERR_KEY_PASSPHRASE') || this.#passphrase !== undefined) throw error;
      this.#passphrase = await this.#given();
      if (this.#passphrase === undefined) throw error;
      return readForeignFile(octets, { passphrase: this.#passphrase, path: file });
    }
  }

  async certificates(paths: readonly string[]): Promise<readonly Certificate[]> {
    const found: Certificate[] = [];
    for (const file of paths) found.push(...(await this.read(file)).certificates);
    return found;
  }

  async #given(): Promise<string | undefined> {
    const io = this.#io;
    // The line end an editor adds is not part of it.
    if (this.#passphraseFile !== undefined) return (await readText(resolve(io.cwd, this.#passphraseFile))).replace(/\r?\n$/, '');
    const fromEnvironment = io.env['SALLYPORT_IMPORT_PASSPHRASE'] || undefined;
    if (fromEnvironment !== undefined || !('isTTY' in io.stdin) || io.stdin.isTTY !== true) return fromEnvironment;
    return askSecret(io, { what: 'passphrase', prompt: 'Passphrase of the imported key: ', repeat: false, missing: 'the imported key is encrypted: give its passphrase with --import-passphrase-file' });
  }
}

function checkTogether({ root, rootKey, issuing, issuingKey, chain, keyUri, rootKeyUri, rootKeyAlgorithm, permitDns, permitTrustDomain }: AuthoritySourceOptions): void {
  const refuse = (when: boolean, message: string): void => {
    if (when) throw usage(message);
  };
  refuse(root === undefined && (rootKey !== undefined || issuing !== undefined || chain !== undefined), '--root-key, --issuing and --chain go with --root: name the file of the root too');
  refuse(issuing === undefined && (issuingKey !== undefined || chain !== undefined), '--issuing-key and --chain go with --issuing: name the file of the issuing CA too');
  refuse(root !== undefined && (rootKeyUri !== undefined || rootKeyAlgorithm !== undefined), '--root-key-uri and --root-key-algorithm are for a root that is made, not for one that is there: leave them out');
  refuse(issuing !== undefined && (permitDns !== undefined || permitTrustDomain === true), '--permit-dns and --permit-trust-domain are for an issuing CA that is made: leave them out, what its certificate says holds');
  refuse(issuingKey !== undefined && keyUri !== undefined, '--issuing-key and --key-uri both say where the key is: leave one out');
}

function selfSigned(certificates: readonly Certificate[], file: string): Certificate {
  const [root, another] = certificates.filter((certificate) => Buffer.from(certificate.issuerNameDer).equals(certificate.subjectNameDer));
  if (root !== undefined && another === undefined) return root;
  if (root === undefined && certificates.length === 1 && certificates[0] !== undefined) return certificates[0];
  throw usage(root === undefined ? `there is no root certificate in ${file}: give the file of a self-signed CA certificate` : `there is more than one root certificate in ${file}: give them one at a time`);
}

/** The one whose key came along, else the only one that is not the root. */
function issuingOf({ certificates }: ForeignFile, { keys, file, root }: { readonly keys: ForeignFile['keys']; readonly file: string; readonly root: Certificate }): Certificate {
  const others = certificates.filter(({ spkiHash }) => spkiHash !== root.spkiHash);
  const own = others.find((certificate) => keys.some((key) => caKeyOf(key).signer.spki.length === certificate.spki.length && Buffer.from(caKeyOf(key).signer.spki).equals(certificate.spki)));
  const certificate = own ?? others[0];
  if (certificate === undefined) throw usage(`there is no certificate of an issuing CA in ${file}: give the one that the root signed`);
  return certificate;
}
