/** Whom a gateway on this data directory would trust, from files and what was kept; nothing is fetched. */
import { loadHierarchy } from '../../ca/index.ts';
import type { Clock, Randomness } from '../../ca/ports.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/load.ts';
import type { FetchDocument } from '../revocation/fetch-document.ts';
import { RevocationIndex } from '../revocation/revocation-index.ts';
import type { TrustStore } from '../tls/trust.ts';
import { trustOf } from './own-trust.ts';
import { TrustAnchors } from './trust-anchors.ts';

export interface TrustView {
  readonly config: Config;
  /** Of other authorities alone. */
  readonly index: RevocationIndex;
  readonly foreign: TrustAnchors;
  /** Ours by certificates alone: no key is opened. */
  readonly store: TrustStore;
  /** What could not be used. */
  readonly problems: readonly unknown[];
}

/** @throws SallyportError `ERR_CONFIG_*`, CaError `ERR_CA_MISSING` */
export const openTrustView = async (directory: string, { clock, randomness, fetch }: { readonly clock: Clock; readonly randomness: Randomness; readonly fetch?: FetchDocument }): Promise<TrustView> => {
  const config = await loadConfig(directory);
  const index = new RevocationIndex({ randomness });
  const problems: unknown[] = [];
  const note = (facts: unknown): void => {
    if (typeof facts === 'object' && facts !== null && 'error' in facts) problems.push(facts.error);
  };
  const foreign = await TrustAnchors.open(config, { index, clock, randomness, fetch, log: { info: () => undefined, warn: note, error: note }, record: () => undefined });
  const ours = trustOf(await loadHierarchy({ directory: config.directory, keys: 'ignore' }));
  return { config, index, foreign, problems, store: ours.with(foreign.anchors) };
};
