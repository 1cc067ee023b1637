/** Was it refused, and for the right reason? */
import type { GateErrorCode } from '../errors.ts';
import { fail, pass, warn } from './check.ts';
import type { Finding } from './check.ts';
import type { Encounter } from './encounter.ts';

/** A refusal for any other reason says nothing about this one. */
export const judgeRefusal = ({ verdict }: Pick<Encounter, 'verdict'>, expected: readonly GateErrorCode[], url: URL): Finding => {
  switch (verdict.kind) {
    case 'admitted':
      return fail(`let in: ${verdict.how}`, openGate(url));
    case 'unreachable':
      return fail(`no verdict: ${verdict.why}`, 'see that the gateway is not overloaded, and run sallyport doctor again');
    case 'refused':
      if (verdict.code === undefined) return warn(`refused, but not said why: ${verdict.how}`, `a Sallyport gateway says why: see what stands between this machine and ${url.host}`);
      if (!(expected as readonly string[]).includes(verdict.code)) return fail(`refused for another reason, which proves nothing: ${verdict.how} (${verdict.code})`, 'mend what that reason names, and run sallyport doctor again');
      return pass(`refused: ${verdict.how} (${verdict.code})`);
  }
};

export const openGate = (url: URL): string => `stop what answers at ${url.host}, and let agents reach the upstream only through sallyport serve of this data directory`;
