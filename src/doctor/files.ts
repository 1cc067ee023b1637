/** What lies in the data directory: modes of keys, lifetimes of certificates. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatMode, writableByOthers } from '../config/writers.ts';
import { fail, pass, skip, warn } from './check.ts';
import type { Finding } from './check.ts';

/** Keys 0600 or stricter, the directories around them 0700. */
export const examineKeyModes = async (directory: string, platform: NodeJS.Platform): Promise<Finding> => {
  if (platform === 'win32') return skip('this system has no file modes: see that only the user of the gateway may read the data directory');
  const keys = join(directory, 'keys');
  const files = (await readdir(keys)).map((name) => join(keys, name));
  const open: { readonly path: string; readonly shown: string; readonly chmod: string }[] = [];
  for (const path of [directory, keys, ...files]) {
    const entry = await stat(path);
    const mode = entry.mode & 0o777;
    if ((mode & 0o077) !== 0) open.push({ path, shown: `${path} is ${formatMode(mode)}`, chmod: `chmod ${entry.isDirectory() ? '700' : '600'} ${path}` });
  }
  if (open.length === 0) return pass(`${files.length} keys, for their owner only`);
  const exposed = open.some(({ path }) => files.includes(path)) ? '; replace a key that someone else may have read' : '';
  return fail(open.map(({ shown }) => shown).join(', '), open.map(({ chmod }) => chmod).join(' && ') + exposed);
};

/** Undefined: only its owner may write it. */
export const examineWriters = async (file: string, platform: NodeJS.Platform): Promise<Finding | undefined> => {
  const open = await writableByOthers(file, platform);
  if (open.length === 0) return undefined;
  return fail(open.map(({ path, mode }) => `${path} is ${formatMode(mode)}: others may write to it`).join(', '), `${open.map(({ path }) => `chmod go-w ${path}`).join(' && ')}; see what was written`);
};

const dayMs = 86_400_000;

export interface LifeRule {
  /** Warned of when less than a quarter of the life is left, or less than this. */
  readonly leastDays: number;
  readonly renew: string;
}

export const examineLife = ({ notBefore, notAfter }: Pick<Certificate, 'notBefore' | 'notAfter'>, now: Date, { leastDays, renew }: LifeRule): Finding => {
  const left = notAfter.getTime() + 1_000 - now.getTime();
  const until = notAfter.toISOString().slice(0, 10);
  if (left <= 0) return fail(`expired on ${until}`, renew);
  if (now < notBefore) return fail(`not valid before ${notBefore.toISOString()}`, 'check the clock of this machine');
  const words = `until ${until}, ${left < 2 * dayMs ? `${Math.floor(left / 3_600_000)} hours` : `${Math.floor(left / dayMs)} days`} left`;
  const life = notAfter.getTime() + 1_000 - notBefore.getTime();
  return left < life / 4 || left < leastDays * dayMs ? warn(words, renew) : pass(words);
};
