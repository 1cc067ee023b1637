/** What the inventory says about a certificate at its first handshake. */
import type { CaStore, Clock, IssuerId, SerialHex } from '../../ca/ports.ts';

export interface KnownCertificateWorld {
  readonly store: Pick<CaStore, 'findCertificates' | 'markSeen'>;
  readonly clock: Clock;
  readonly onError: (error: unknown, serial: SerialHex) => void;
}

/** A certificate that our CA signed and our inventory does not know means the CA key was used elsewhere. */
export const isKnownCertificate = async ({ store, clock, onError }: KnownCertificateWorld, issuerId: IssuerId, serial: SerialHex, thumbprint: string): Promise<boolean> => {
  const [record] = await store.findCertificates({ issuerId, serial, limit: 1 });
  // What a crash left behind was signed, perhaps, but never answered as issued: nobody should hold it.
  if (record === undefined || record.state === 'intent' || record.state === 'unknownIssued') return false;
  if (record.thumbprint !== thumbprint) return false;
  if (record.firstSeenAt === undefined) store.markSeen({ issuerId, serial }, clock.now()).catch((error: unknown) => onError(error, serial));
  return true;
};
