/** Which CA a row means: from the CA certificates at hand, else from what the store recorded of its own CAs. */
import type { KeyObject } from 'node:crypto';
import type { CaStore, CertificateRecord, IssuerId } from '../ports.ts';
import { publicKeyOf } from '../x509/algorithm.ts';
import { parseCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { equalBytes } from '../x509/der.ts';
import { roleOf } from '../record-role.ts';

export interface KnownIssuer {
  readonly certificate: Certificate;
  /** Read once, since it verifies a great many signatures. */
  readonly key: KeyObject;
}

export class Issuers {
  readonly #store: Pick<CaStore, 'findCertificates'>;
  readonly #known = new Map<IssuerId, KnownIssuer | undefined>();

  constructor(store: Pick<CaStore, 'findCertificates'>, authorities: readonly Certificate[]) {
    this.#store = store;
    // A root has further certificates, by other roots; its own says how long it may issue.
    for (const certificate of [...authorities].sort((a, b) => Number(isSelfSigned(a)) - Number(isSelfSigned(b)))) this.#known.set(certificate.spkiHash, usable(certificate));
  }

  async find(id: IssuerId): Promise<KnownIssuer | undefined> {
    if (this.#known.has(id)) return this.#known.get(id);
    // Only a row somebody wrote by hand names one of many: what is remembered stays small.
    if (this.#known.size > 1_000) return undefined;
    const rows = await this.#store.findCertificates({ spkiHash: id, limit: 10 });
    const found = rows.map((row) => recordedAuthority(row)).find((certificate) => certificate?.spkiHash === id);
    const issuer = found === undefined ? undefined : usable(found);
    this.#known.set(id, issuer);
    return issuer;
  }

  /** Every CA met so far. */
  all(): readonly KnownIssuer[] {
    return [...this.#known.values()].filter((issuer) => issuer !== undefined);
  }
}

const isSelfSigned = ({ authorityKeyIdentifier, subjectKeyIdentifier, issuerNameDer, subjectNameDer }: Certificate): boolean => equalBytes(issuerNameDer, subjectNameDer) && (authorityKeyIdentifier ?? subjectKeyIdentifier) === subjectKeyIdentifier;

/** Its own signature is checked like that of every row. */
function recordedAuthority(row: CertificateRecord): Certificate | undefined {
  if (roleOf(row) !== 'ca' || row.der === undefined) return undefined;
  try {
    const certificate = parseCertificate(row.der);
    return certificate.basicConstraints?.ca === true ? certificate : undefined;
  } catch {
    // Reported when its row is looked at.
    return undefined;
  }
}

function usable(certificate: Certificate): KnownIssuer | undefined {
  try {
    return { certificate, key: publicKeyOf(certificate.spki) };
  } catch {
    return undefined;
  }
}
