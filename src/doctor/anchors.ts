/** The authorities of `trust:`: can what they publish be had, and is it fresh? */
import type { FollowedAnchorState } from '../app/followed-anchor.ts';
import { gapsOf } from '../app/trust-standing.ts';
import { fail, pass, warn } from './check.ts';
import type { Finding } from './check.ts';

export interface AnchorsLooked {
  readonly anchors: readonly FollowedAnchorState[];
  /** What went wrong when everything was looked up just now, by name. */
  readonly problems: ReadonlyMap<string, readonly unknown[]>;
  readonly now: Date;
}

export const examineAnchors = ({ anchors, problems, now }: AnchorsLooked): Finding => {
  const [gap] = anchors.flatMap((state) => gapsOf(state, now.getTime()));
  if (gap !== undefined) return fail(`${gap.trust}: ${gap.from} is ${gap.standing}, so certificates are refused`, `make it reachable, then: sallyport trust refresh ${gap.trust}`);
  for (const [name, [problem]] of problems) {
    if (problem !== undefined) return warn(`${name}: ${problem instanceof Error ? problem.message : String(problem)}; the last good one is in use`, `sallyport trust refresh ${name}`);
  }
  return pass(anchors.length === 0 ? 'nobody beside our own CA is trusted' : anchors.map(({ name }) => name).join(', '));
};
