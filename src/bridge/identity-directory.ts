/** Writes an identity directory: beside its place first, then moved there whole. */
import { createPrivateKey, randomUUID } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { SallyportError } from '../errors.ts';
import { identityFileName } from './identity.ts';

export interface IdentityParts {
  readonly name: string;
  /** Leaf, then its issuing CA. */
  readonly certificatePem: string;
  readonly caPem: string;
  readonly gateway: string | undefined;
  readonly renewal: string | undefined;
}

/** A directory in the making. */
export interface IdentityDraft {
  /** Writes the rest and moves the directory into place. */
  commit(parts: IdentityParts): Promise<void>;
  /** Puts it aside, key and all, for `resumeIdentity` with the same proof: the certificate is to come later. */
  keep(proof: string): Promise<void>;
  /** Leaves nothing behind. */
  discard(): Promise<void>;
}

/** Puts the key on disk before anything is asked for, so that a full disk costs no token. Refuses a directory with content. */
export async function beginIdentity(out: string, key: KeyObject, passphrase: string | undefined): Promise<IdentityDraft> {
  const target = resolve(out);
  await refuseOccupied(target);
  const draft = join(dirname(target), `.${randomUUID()}.sallyport`);
  const discard = (): Promise<void> => rm(draft, { recursive: true, force: true });
  const pem = keyPemOf(key, passphrase);
  try {
    await mkdir(dirname(target), { recursive: true });
    await mkdir(draft, { mode: 0o700 });
    await writeSynced(join(draft, 'key.pem'), pem, 0o600);
  } catch (cause) {
    await discard();
    throw notWritten(out, cause);
  }
  return draftAt(draft, target);
}

/** What was put aside for this place and proof; undefined when nothing was, or for another one. The key stays as it is on disk. */
export async function resumeIdentity(out: string, { proof, passphrase }: { readonly proof: string; readonly passphrase: string | undefined }): Promise<{ readonly key: KeyObject; readonly draft: IdentityDraft } | undefined> {
  const target = resolve(out);
  const aside = placeAside(target);
  const kept = await readFile(join(aside, keptFileName), 'utf8').catch(() => undefined);
  if (kept?.trim() !== proof) return undefined;
  await refuseOccupied(target);
  const pem = await readFile(join(aside, 'key.pem'), 'utf8');
  let key: KeyObject;
  try {
    key = createPrivateKey(passphrase === undefined ? pem : { key: pem, passphrase });
  } catch (cause) {
    throw new SallyportError('ERR_BRIDGE_IDENTITY', `the key that waits in ${aside} cannot be opened; give the passphrase it was made with`, { facts: { directory: aside, reason: 'ERR_KEY_PASSPHRASE' }, cause });
  }
  // Left by a crash while it was being completed.
  for (const name of ['cert.pem', 'ca.pem', identityFileName]) await rm(join(aside, name), { force: true });
  return { key, draft: draftAt(aside, target) };
}

const keptFileName = 'waiting';

const placeAside = (target: string): string => join(dirname(target), `.${basename(target)}.waiting.sallyport`);

const draftAt = (began: string, target: string): IdentityDraft => {
  let draft = began;
  const discard = (): Promise<void> => rm(draft, { recursive: true, force: true });
  return {
    discard,
    keep: async (proof) => {
      const aside = placeAside(target);
      if (draft === aside) return;
      try {
        // What waited there waited for another token, which is of no use any more.
        await rm(aside, { recursive: true, force: true });
        await writeSynced(join(draft, keptFileName), `${proof}\n`, 0o600);
        await rename(draft, aside);
        draft = aside;
        await syncDirectory(dirname(target));
      } catch (cause) {
        throw notWritten(target, cause);
      }
    },
    commit: async ({ name, certificatePem, caPem, gateway, renewal }) => {
      try {
        await writeSynced(join(draft, 'cert.pem'), certificatePem, 0o644);
        await writeSynced(join(draft, 'ca.pem'), caPem, 0o644);
        const file = { version: 1, name, key: 'key.pem', certificate: 'cert.pem', ca: 'ca.pem', gateway, renewal };
        await writeSynced(join(draft, identityFileName), `${JSON.stringify(file, undefined, 2)}\n`, 0o644);
        await rm(join(draft, keptFileName), { force: true });
        // Fails on a directory with content, so that of two enrollments into one place the first stays.
        await rename(draft, target);
        await syncDirectory(dirname(target));
      } catch (cause) {
        await discard();
        throw notWritten(target, cause);
      }
    },
  };
};

/** PKCS#8, encrypted when there is a passphrase. */
export const keyPemOf = (key: KeyObject, passphrase: string | undefined): string =>
  key.export(passphrase === undefined ? { type: 'pkcs8', format: 'pem' } : { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }).toString();

async function refuseOccupied(target: string): Promise<void> {
  let content: readonly string[];
  try {
    content = await readdir(target);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw notWritten(target, cause);
  }
  if (content.length > 0) {
    throw new SallyportError('ERR_BRIDGE_IDENTITY', `${target} is not empty and nothing in it was touched; give another directory with --out`, { facts: { directory: target, reason: 'ERR_CONFIG_EXISTS' } });
  }
}

async function writeSynced(path: string, text: string, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open directories; its rename is durable enough for a file that can be asked for again.
  if (process.platform === 'win32') return;
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const notWritten = (out: string, cause: unknown): SallyportError =>
  new SallyportError('ERR_BRIDGE_IDENTITY', `the identity cannot be written to ${out} (${(cause as NodeJS.ErrnoException).code ?? 'unknown'}); nothing was left behind`, { facts: { directory: out, reason: (cause as NodeJS.ErrnoException).code }, cause });
