/** The anchors of `trust:` as files and kept bundles hold them now. */
import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { CaError } from '../../ca/errors.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { shortLivedOf } from '../config/trust-rules.ts';
import type { TrustAnchorConfig } from '../config/trust-schema.ts';
import { SallyportError } from '../errors.ts';
import { TrustAnchor } from '../tls/trust-anchor.ts';

/** Where what an anchor's authority publishes is kept. */
export const trustFilesIn = (directory: string, name: string) => {
  const folder = join(directory, 'trust', name);
  return {
    folder,
    bundle: join(folder, 'bundle.json'),
    crl: (from: string): string => join(folder, `${hash('sha256', from, 'hex').slice(0, 16)}.crl`),
  } as const;
};

/** A file of the configuration, or a URL as it is. */
export const placeIn = (directory: string, place: string): string => (place.includes('://') || isAbsolute(place) ? place : resolve(directory, place));

export interface TrustFile {
  readonly name: string;
  readonly config: TrustAnchorConfig;
  readonly directory: string;
}

/** Files that the anchor is made of, to be watched. */
export const certificateFilesOf = ({ config, directory }: TrustFile): readonly string[] => {
  const { anchors = [], issuers, crl, spiffe } = config;
  const named = [...anchors, ...(Array.isArray(issuers) ? issuers : []), ...crl.flatMap(({ issuer }) => issuer ?? []), ...[spiffe?.ca, spiffe?.bootstrap].flatMap((file) => file ?? [])];
  return named.map((file) => placeIn(directory, file));
};

/** @throws SallyportError `ERR_CONFIG_INVALID` */
export const readRoots = async ({ name, config, directory }: TrustFile): Promise<readonly Certificate[]> =>
  (await Promise.all((config.anchors ?? []).map((file) => certificatesIn(placeIn(directory, file), `trust.${name}.anchors`)))).flat();

/** @throws SallyportError `ERR_CONFIG_INVALID` */
export const anchorOf = async (file: TrustFile, roots: readonly Certificate[]): Promise<TrustAnchor> => {
  const { name, config, directory } = file;
  const { issuers = 'any', spiffe, identity } = config;
  const pinned = issuers === 'any' ? issuers : (await Promise.all(issuers.map((each) => certificatesIn(placeIn(directory, each), `trust.${name}.issuers`)))).flat();
  const shortLivedMs = shortLivedOf(config);
  const trustDomain = spiffe?.trustDomain ?? identity?.trustDomain ?? '';
  const from = spiffe === undefined ? (identity?.from ?? 'commonName') : 'spiffe';
  return new TrustAnchor({
    name, roots, issuers: pinned,
    identity: from === 'spiffe' ? { from, trustDomain } : { from },
    status: config.dangerouslyAcceptUnknownStatus === true ? 'dangerouslyOptional' : shortLivedMs === undefined ? 'required' : { shortLivedMs },
  });
};

/** PEM or DER, at least one certificate. @throws SallyportError `ERR_CONFIG_INVALID` */
export const certificatesIn = async (file: string, what: string): Promise<readonly Certificate[]> => {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (cause) {
    throw new SallyportError('ERR_CONFIG_INVALID', `${file} of ${what} cannot be read: check path, owner and mode`, { facts: { file }, cause });
  }
  try {
    // A SEQUENCE begins DER.
    const certificates = bytes[0] === 0x30 ? [parseCertificate(Uint8Array.from(bytes))] : decodePem(bytes.toString('latin1'), 'CERTIFICATE').map(({ der }) => parseCertificate(der));
    if (certificates.length > 0) return certificates;
  } catch (cause) {
    if (!(cause instanceof CaError)) throw cause;
    throw new SallyportError('ERR_CONFIG_INVALID', `${file} of ${what} holds what is no certificate: ${cause.message}`, { facts: { file }, cause });
  }
  throw new SallyportError('ERR_CONFIG_INVALID', `${file} of ${what} holds no certificate: give PEM or DER`, { facts: { file } });
};
