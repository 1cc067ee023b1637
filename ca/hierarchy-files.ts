/** How a hierarchy lies in a data directory: certificates, keys, and which generation is what. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeDurably } from './durable-file.ts';
import { CaError } from './errors.ts';
import type { Hierarchy, IssuerRole, IssuerStatus } from './issuer.ts';
import { ProcessLock } from './process-lock.ts';
import type { IssuerName } from './requests.ts';
import { parseCertificate } from './x509/certificate.ts';
import type { Certificate } from './x509/certificate.ts';
import { decodePem } from './x509/pem.ts';

export const certificateFile = (directory: string, name: string): string => join(directory, 'certs', `${name}.cert.pem`);
export const keyFile = (directory: string, name: string): string => join(directory, 'keys', `${name}.key.pem`);
/** A request that is signed elsewhere. */
export const requestFile = (directory: string, name: string): string => join(directory, 'requests', `${name}.csr.pem`);
/** Written last in every change: what it does not name does not belong to the hierarchy. */
export const hierarchyFile = (directory: string): string => join(directory, 'certs', 'hierarchy.json');

export interface ListedIssuer {
  readonly name: IssuerName;
  readonly role: IssuerRole;
  readonly status: IssuerStatus;
  readonly since: Date;
  readonly root: IssuerName;
}

export interface HierarchyList {
  readonly sequence: number;
  /** Oldest first. */
  readonly issuers: readonly ListedIssuer[];
  readonly crossCertificates: readonly { readonly of: IssuerName; readonly by: IssuerName }[];
}

export const crossName = ({ of, by }: { readonly of: IssuerName; readonly by: IssuerName }): string => `${of}-by-${by}`;

/** What the directory lists. One without a list, as `init` makes it, is a root with one issuing CA. */
export const readHierarchyList = async (directory: string): Promise<HierarchyList> => {
  const file = hierarchyFile(directory);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    if (isMissing(cause)) return firstList;
    throw new CaError('ERR_CA_MISSING', `${file} cannot be read`, { facts: { file }, cause });
  }
  const list = parseList(text);
  if (list === undefined) throw new CaError('ERR_CA_MISSING', `${file} does not say which CAs there are; restore it from a backup`, { facts: { file } });
  return list;
};

export const writeHierarchyList = async (directory: string, { sequence, issuers, crossCertificates }: Pick<Hierarchy, 'sequence'> & HierarchyList): Promise<void> => {
  const list = {
    version: 1,
    sequence,
    issuers: issuers.map(({ name, role, status, since, root }) => ({ name, role, status, since: since.toISOString(), root })),
    crossCertificates: crossCertificates.map(({ of, by }) => ({ of, by })),
  };
  await writeDurably(hierarchyFile(directory), `${JSON.stringify(list, undefined, 2)}\n`, { mode: 0o644 });
};

/** The certificates of a file in order. @throws CaError of the structure, naming the file */
export const readCertificates = async (path: string): Promise<readonly [Certificate, ...Certificate[]]> => {
  try {
    const [first, ...others] = decodePem(await readFile(path, 'utf8'), 'CERTIFICATE').map(({ der }) => parseCertificate(der));
    if (first === undefined) throw new CaError('ERR_PEM_INVALID', 'there is no certificate in it');
    return [first, ...others];
  } catch (cause) {
    if (cause instanceof CaError) throw new CaError(cause.code, `${path}: ${cause.message}`, { facts: { path }, cause });
    throw new CaError('ERR_CA_MISSING', `${path} cannot be read`, { facts: { path }, cause });
  }
};

const retryMs = 50;

/** One change of a hierarchy at a time, of whatever process on this directory. A lock whose owner was killed is taken over. */
export const changeAlone = async <T>(directory: string, work: () => Promise<T>): Promise<T> => {
  const lock = new ProcessLock(join(directory, 'certs', '.hierarchy.lock'));
  for (;;) {
    // The lock is as old as its file, whatever clock the authority has.
    const done = await lock.alone(async () => ({ result: await work() }), new Date());
    if (done !== undefined) return done.result;
    await sleep(retryMs);
  }
};

export const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );

/** What a directory without a list holds. */
export const firstList = {
  sequence: 1,
  issuers: [
    { name: 'root', role: 'root', status: 'active', since: new Date(0), root: 'root' },
    { name: 'issuing', role: 'issuing', status: 'active', since: new Date(0), root: 'root' },
  ],
  crossCertificates: [],
} as const satisfies HierarchyList;

const namePattern = /^[a-z][a-z0-9-]{0,31}$/;
const roles: readonly unknown[] = ['root', 'issuing'] satisfies readonly IssuerRole[];
const statuses: readonly unknown[] = ['prepared', 'active', 'superseded', 'retired'] satisfies readonly IssuerStatus[];

/** Undefined for anything that this release would not have written. */
export const parseList = (text: string): HierarchyList | undefined => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isRecord(value) || value['version'] !== 1) return undefined;
  const { sequence, issuers, crossCertificates } = value;
  if (!Number.isSafeInteger(sequence) || (sequence as number) < 1 || !Array.isArray(issuers) || !Array.isArray(crossCertificates)) return undefined;
  const listed = issuers.map(parseIssuer);
  const roots = new Set(listed.filter((issuer) => issuer?.role === 'root').map((issuer) => issuer?.name));
  const names = new Set(listed.map((issuer) => issuer?.name));
  const whole = listed.every((issuer): issuer is ListedIssuer => issuer !== undefined && roots.has(issuer.root) && (issuer.role === 'issuing' || issuer.root === issuer.name));
  const crossed = crossCertificates.every((each): each is { of: string; by: string } => isRecord(each) && typeof each['of'] === 'string' && typeof each['by'] === 'string' && names.has(each['of']) && roots.has(each['by']));
  if (!whole || !crossed || names.size !== listed.length) return undefined;
  return { sequence: sequence as number, issuers: listed, crossCertificates: crossCertificates.map(({ of, by }) => ({ of, by })) };
};

const parseIssuer = (value: unknown): ListedIssuer | undefined => {
  if (!isRecord(value)) return undefined;
  const { name, role, status, since, root } = value;
  const time = new Date(typeof since === 'string' ? since : Number.NaN);
  if (typeof name !== 'string' || !namePattern.test(name) || typeof root !== 'string' || !roles.includes(role) || !statuses.includes(status) || Number.isNaN(time.getTime())) return undefined;
  return { name, role: role as IssuerRole, status: status as IssuerStatus, since: time, root };
};

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 'ENOENT';
