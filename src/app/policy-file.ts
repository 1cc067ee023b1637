/** The policy as its file holds it now, and what is worth telling the operator about it. */
import { readFile } from 'node:fs/promises';
import type { Logger } from 'pino';
import { SallyportError } from '../errors.ts';
import { unknownTrusts, unknownUpstreams } from '../policy/findings.ts';
import { parsePolicy } from '../policy/load.ts';
import type { Policy } from '../policy/policy.ts';

/** @throws SallyportError `ERR_POLICY_INVALID` */
export const readPolicy = async (file: string): Promise<Policy> => {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new SallyportError('ERR_POLICY_INVALID', `the policy ${file} cannot be read: check its name and mode, or name another in sallyport.yaml`, { facts: { file }, cause });
  }
  return parsePolicy(text, { file });
};

export const reportPolicyFindings = (policy: Policy, { upstreams, trusts }: { readonly upstreams: readonly string[]; readonly trusts: readonly string[] }, logger: Logger): void => {
  for (const { kind, path, message } of [...policy.findings, ...unknownUpstreams(policy, upstreams), ...unknownTrusts(policy, trusts)]) logger.warn({ kind, path, finding: message }, 'policy finding');
};
