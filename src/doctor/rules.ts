/** Configuration and policy: do they load, and do they say what was probably meant? */
import { readFile } from 'node:fs/promises';
import type { Config } from '../config/load.ts';
import { parsePolicy } from '../policy/load.ts';
import { fail, failedWith, pass, warn } from './check.ts';
import type { Finding } from './check.ts';

export const examineConfiguration = ({ findings, directory }: Pick<Config, 'findings' | 'directory'>): Finding => {
  if (findings.length === 0) return pass('nothing to remark');
  return warn(findings.map(({ key, message }) => `${key}: ${message}`).join('; '), `edit ${directory}/sallyport.yaml, unless it is meant`);
};

export const examinePolicy = async (file: string): Promise<Finding> => {
  const check = `sallyport policy check ${file}`;
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    return fail(`${file} cannot be read`, 'restore it, or name another in sallyport.yaml: a gateway does not start without one');
  }
  try {
    const { findings, revision } = parsePolicy(text, { file });
    const warnings = findings.filter(({ severity }) => severity === 'warning');
    const [first] = warnings;
    const notes = findings.length - warnings.length;
    if (first === undefined) return pass(`revision ${revision}${notes === 0 ? '' : `, ${notes === 1 ? '1 note' : `${notes} notes`}`}`);
    return warn(`line ${first.line}: ${first.message}${warnings.length === 1 ? '' : `; and ${warnings.length - 1} more`}`, check);
  } catch (error) {
    return { ...failedWith(error), next: `correct it (${check}); a running gateway keeps the last good one, but would not start again` };
  }
};
