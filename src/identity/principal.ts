import type { IssuerId, SerialHex } from '../../ca/ports.ts';

/**
 * The identity policy sees: attributes of a certificate that passed every check.
 * `id` names the agent across renewals; sessions and limits belong to it, not to a certificate.
 */
export interface Principal {
  /** Of our own CA: first URI SAN; without one `cn:<commonName>`; without either `x5t:<thumbprint>`. Of another: see `foreign-identity.ts`. */
  readonly id: string;
  /** Who vouches for it: `own`, or the name of an anchor under `trust:`. */
  readonly trust: string;
  /** RFC 4514 string. */
  readonly subject: string;
  readonly commonName: string | undefined;
  readonly organizations: readonly string[];
  readonly organizationalUnits: readonly string[];
  readonly uris: readonly string[];
  readonly dnsNames: readonly string[];
  readonly emails: readonly string[];
  readonly issuerId: IssuerId;
  readonly serial: SerialHex;
  /** Lower-case hex SHA-256 of the certificate DER. */
  readonly thumbprint: string;
  readonly notBefore: Date;
  /** Inclusive. */
  readonly notAfter: Date;
}

/** The CA of the data directory, as policy names it. */
export const ownTrust = 'own';

/** What the audit log and the log call an agent: a common name says who it is only where we wrote it. */
export const agentName = ({ id, trust, commonName }: Pick<Principal, 'id' | 'trust' | 'commonName'>): string | undefined => (trust === ownTrust ? commonName : id);
