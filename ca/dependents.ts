/** Who would be cut off if a CA were trusted no more. */
import type { Hierarchy } from './issuer.ts';
import { isTrusted } from './issuer.ts';
import type { CaStore, CertificateRecord, Clock, IssuerId, SerialHex } from './ports.ts';
import { roleOf } from './record-role.ts';
import { wholeSecond } from './revocation-selector.ts';

export interface Dependent {
  readonly agent: string;
  readonly serial: SerialHex;
  readonly notAfter: Date;
}

/**
 * Valid certificates of these issuers that nothing has taken the place of: neither a renewal that was seen in
 * use nor, for a server, one that another trusted CA issued to it since. One pass over the inventory.
 */
export const dependentsOf = async (issuers: ReadonlySet<IssuerId>, hierarchy: Hierarchy, { store, clock }: { readonly store: Pick<CaStore, 'certificatePages'>; readonly clock: Clock }): Promise<readonly Dependent[]> => {
  const now = wholeSecond(clock.now());
  const remaining = new Set(hierarchy.issuers.filter((issuer) => isTrusted(issuer) && !issuers.has(issuer.id)).map(({ id }) => id));
  const replaced = new Set<SerialHex>();
  const servers = new Map<string, Date>();
  const live: (Dependent & { readonly createdAt: Date; readonly server: boolean })[] = [];
  for await (const page of store.certificatePages()) {
    for (const record of page) {
      if (roleOf(record) !== 'endEntity' || !isLive(record, now)) continue;
      const { agent, serial, notAfter, createdAt, issuerId } = record;
      const server = record.uri === undefined;
      if (record.firstSeenAt !== undefined && record.replaces !== undefined) replaced.add(record.replaces);
      if (server && remaining.has(issuerId)) servers.set(agent, createdAt);
      if (issuers.has(issuerId)) live.push({ agent, serial, notAfter, createdAt, server });
    }
  }
  return live.filter(({ agent, serial, createdAt, server }) => !replaced.has(serial) && !(server && (servers.get(agent) ?? createdAt) > createdAt)).map(({ agent, serial, notAfter }) => ({ agent, serial, notAfter }));
};

/** An intent may become a certificate a moment later. */
const isLive = ({ state, notAfter }: CertificateRecord, now: Date): boolean => state !== 'revoked' && notAfter >= now;
