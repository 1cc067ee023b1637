/** What an identity looks like to other programs: texts by file name, nothing is written here. */
import type { KeyObject, X509Certificate } from 'node:crypto';
import { stringify } from 'yaml';
import { encryptPkcs8 } from '../../ca/pkcs8-encryption.ts';
import type { Randomness } from '../../ca/ports.ts';
import { encodePem } from '../../ca/x509/pem.ts';
import type { Identity } from '../bridge/identity.ts';
import { identityFileName } from '../bridge/identity.ts';
import { usage } from './cli.ts';

/** With a password the key is encrypted as `init --passphrase-file` does it. */
export async function pemKey(key: KeyObject, { password, randomness }: { readonly password: string | undefined; readonly randomness: Randomness }): Promise<string> {
  if (password === undefined) return key.export({ type: 'pkcs8', format: 'pem' }).toString();
  return encodePem('ENCRYPTED PRIVATE KEY', await encryptPkcs8(key.export({ type: 'pkcs8', format: 'der' }), { passphrase: password, randomness }));
}

/** The order that haproxy, stunnel and most others take: leaf, issuing CA, key. The root is not theirs to send. */
export const pemBundle = (identity: Identity, keyPem: string): string => chainOf(identity) + keyPem;

export const separatePem = (identity: Identity, keyPem: string): ReadonlyMap<string, string> =>
  new Map([['leaf.pem', pemOf([identity.leaf])], ['chain.pem', pemOf(identity.intermediates)], ['ca.pem', pemOf(identity.roots)], ['key.pem', keyPem]]);

/**
 * The names of `kubernetes.io/tls`. With `identity.json` beside them the place where they are mounted
 * is itself an identity directory. It names no renewal: nobody can write a renewed one there.
 */
export function mountedFiles(identity: Identity): ReadonlyMap<string, string> {
  const file = { version: 1, name: identity.name, key: 'tls.key', certificate: 'tls.crt', ca: 'ca.crt', gateway: identity.gateway };
  return new Map([
    ['tls.crt', chainOf(identity)],
    ['tls.key', identity.key.export({ type: 'pkcs8', format: 'pem' }).toString()],
    ['ca.crt', pemOf(identity.roots)],
    [identityFileName, `${JSON.stringify(file, undefined, 2)}\n`],
  ]);
}

export function kubernetesSecret(name: string, files: ReadonlyMap<string, string>): string {
  // RFC 1123 subdomain, what Kubernetes takes for the name of a Secret.
  if (name.length > 253 || !/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/u.test(name)) {
    throw usage(`${JSON.stringify(name)} is no name for a Secret: give one of lower case letters, digits, - and . with --name`);
  }
  const data = Object.fromEntries([...files].map(([file, text]) => [file, Buffer.from(text).toString('base64')]));
  // Quoted throughout: a Secret may be called "on" or "1e3", and lines are never folded.
  return stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name }, type: 'kubernetes.io/tls', data }, { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN', lineWidth: 0 });
}

/** For the [Service] section of a unit. `directory` is absolute. */
export function loadCredentialLines(directory: string, names: Iterable<string>): readonly string[] {
  if (/\p{Cc}/u.test(directory)) throw usage('the name of the directory has control characters, which a unit file cannot carry: give another with --out');
  // systemd.unit(5): % begins a specifier, also in paths. The rest of the line is the path, spaces included.
  const path = directory.replaceAll('%', '%%').replace(/\/$/u, '');
  return [...names].map((name) => `LoadCredential=${name}:${path}/${name}`);
}

const chainOf = ({ leaf, intermediates }: Identity): string => pemOf([leaf, ...intermediates]);

const pemOf = (certificates: readonly X509Certificate[]): string => certificates.map(({ raw }) => encodePem('CERTIFICATE', raw)).join('');
