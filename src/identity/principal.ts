import type { IssuerId, SerialHex } from '../../ca/ports.ts';

/**
 * The identity policy sees: attributes of a certificate that passed every check.
 * `id` names the agent across renewals; sessions and limits belong to it, not to a certificate.
 */
export interface Principal {
  /** First URI SAN; without one `cn:<commonName>`; without either `x5t:<thumbprint>`. */
  readonly id: string;
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
