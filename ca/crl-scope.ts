/** Partitions of CRLs: which one a serial is in, and where each is found. */
import { CaError } from './errors.ts';
import type { CrlScope, SerialHex } from './ports.ts';

/** One CRL for all. */
export const wholeScope: CrlScope = { partitions: 1, partition: 0 };

/** At 256 a CRL of a million entries is 200 kB long. Two hex digits tell them apart, and every serial has two. */
const mostPartitions = 256;

export const checkPartitions = (partitions: number): number => {
  if (Number.isInteger(partitions) && partitions >= 1 && partitions <= mostPartitions && (partitions & (partitions - 1)) === 0) return partitions;
  throw new CaError('ERR_CA_LIMIT', `${partitions} partitions cannot be told by the last bits of a serial; use a power of two from 1 to ${mostPartitions}`, { facts: { partitions } });
};

/** By the lowest bits, which are as random as the rest of a serial. */
export const partitionOf = (serial: SerialHex, partitions: number): number => (partitions === 1 ? 0 : Number.parseInt(serial.slice(-2), 16) & (partitions - 1));

export const scopesOf = (partitions: number): readonly CrlScope[] => Array.from({ length: partitions }, (_, partition) => ({ partitions, partition }));

/** Last hex digits of the serials that are in one of the scopes, which have one number of partitions; empty when that is all. */
export const endingsOf = (scopes: readonly CrlScope[]): readonly string[] => {
  const partitions = scopes[0]?.partitions ?? 1;
  if (scopes.length >= partitions) return [];
  const digits = Math.ceil(Math.log2(partitions) / 4);
  const wanted = new Set(scopes.map(({ partition }) => partition));
  return Array.from({ length: 16 ** digits }, (_, value) => value)
    .filter((value) => wanted.has(value & (partitions - 1)))
    .map((value) => value.toString(16).padStart(digits, '0'));
};

/** Unambiguous in logs, and as a key. */
export const scopeName = ({ partitions, partition }: CrlScope): string => (partitions === 1 ? 'all' : `${partition} of ${partitions}`);

/** Path below `crl/`, of files and addresses alike: `<issuer>.crl` or `<issuer>/<partitions>/<partition>.crl`. */
export const crlPath = (issuer: string, { partitions, partition }: CrlScope, kind: 'complete' | 'delta' = 'complete'): string =>
  `${partitions === 1 ? issuer : `${issuer}/${partitions}/${partition}`}${kind === 'delta' ? '.delta.crl' : '.crl'}`;

/** What `crlPath` made; undefined for anything else. */
export const parseCrlPath = (path: string): { readonly issuer: string; readonly scope: CrlScope; readonly kind: 'complete' | 'delta' } | undefined => {
  const [, issuer, partitions = '1', partition = '0', delta] = /^([a-z0-9][a-z0-9-]{0,63})(?:\/([1-9]\d{0,3})\/(0|[1-9]\d{0,3}))?(\.delta)?\.crl$/.exec(path) ?? [];
  if (issuer === undefined) return undefined;
  const scope = { partitions: Number(partitions), partition: Number(partition) };
  const kind = delta === undefined ? 'complete' : 'delta';
  return crlPath(issuer, scope, kind) === path && scope.partition < scope.partitions ? { issuer, scope, kind } : undefined;
};
