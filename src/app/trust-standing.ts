/** Whether everything is there that the certificates of another authority are judged by. */
import type { FollowedAnchorState } from './followed-anchor.ts';

export interface TrustGap {
  readonly trust: string;
  /** File or address. */
  readonly from: string;
  readonly standing: 'absent' | 'stale';
}

/** What keeps certificates out that should get in. An anchor that needs no CRL, or has a responder beside it, goes on without. */
export const gapsOf = ({ name, anchor, bundle, crls, ocsp, graceMs }: FollowedAnchorState, now: number): readonly TrustGap[] => {
  // A bundle that was had and holds no roots has withdrawn them, which is no fault.
  const unseen = bundle !== undefined && bundle.roots === 0 && bundle.checkedAt === undefined;
  if (unseen) return [{ trust: name, from: bundle.from, standing: 'absent' }];
  if (anchor.statusOptional || ocsp !== undefined) return [];
  return crls.flatMap(({ from, crl }): readonly TrustGap[] => {
    if (crl === undefined) return [{ trust: name, from, standing: 'absent' }];
    return now < crl.until + graceMs ? [] : [{ trust: name, from, standing: 'stale' }];
  });
};
