/** CRLs that were published after the backup was made, read and verified against the CAs in it. */
import { CaError } from '../../ca/errors.ts';
import { parseCrlPath, wholeScope } from '../../ca/crl-scope.ts';
import { loadHierarchy } from '../../ca/hierarchy.ts';
import type { CrlScope } from '../../ca/ports.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import type { Crl } from '../../ca/x509/crl.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName, namesEqual } from '../../ca/x509/name.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { serialToHex } from '../../ca/x509/serial.ts';
import type { ListedRevocation, PublishedRevocations } from '../store/restored-revocations.ts';

export interface CrlFile {
  /** For messages. */
  readonly name: string;
  /** DER, or PEM with one or more: those of all partitions come in one file. */
  readonly octets: Uint8Array;
}

/** @throws CaError `ERR_CRL_INVALID`, `ERR_CRL_ISSUER`, `ERR_CRL_SCOPE`, `ERR_CRL_SIGNATURE`, `ERR_CRL_STALE`, `ERR_PEM_INVALID` */
export const readRestoredCrls = async (files: readonly CrlFile[], { directory, now }: { readonly directory: string; readonly now: Date }): Promise<readonly PublishedRevocations[]> => {
  if (files.length === 0) return [];
  const { issuers } = await loadHierarchy({ directory, keys: 'ignore' });
  const authorities = issuers.map(({ certificate }) => certificate);
  return files.flatMap(({ name, octets }) => {
    try {
      return blocksOf(octets).map((der) => read({ name, octets: der }, authorities, now));
    } catch (cause) {
      // Of several, which one it was.
      throw cause instanceof CaError ? new CaError(cause.code, `${name}: ${cause.message}`, { facts: { ...cause.facts, file: name }, cause }) : cause;
    }
  });
};

const blocksOf = (octets: Uint8Array): readonly Uint8Array[] => {
  if (octets[0] === 0x30) return [Uint8Array.from(octets)];
  const blocks = decodePem(Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString('latin1')).filter(({ label }) => label === 'X509 CRL');
  if (blocks.length === 0) throw new CaError('ERR_CRL_INVALID', 'the file holds no CRL: neither DER nor an X509 CRL block');
  return blocks.map(({ der }) => der);
};

const read = ({ name, octets }: CrlFile, authorities: readonly Certificate[], now: Date): PublishedRevocations => {
  const crl = parseCrl(octets);
  if (crl.baseCrlNumber !== undefined) throw new CaError('ERR_CRL_SCOPE', 'this is a delta CRL, which lists changes only; give the newest complete one, and revoke by hand what the delta alone lists');
  const { crlNumber } = crl;
  if (crlNumber === undefined) throw new CaError('ERR_CRL_INVALID', 'the CRL has no number, and every CRL of Sallyport has; give one that this authority published');
  const issuer = issuerOf(crl, authorities);
  if (crl.thisUpdate.getTime() > now.getTime() + 60_000) throw new CaError('ERR_CRL_STALE', 'the CRL comes from the future; check the clock of this machine');
  return { name, issuerId: issuer.spkiHash, scope: scopeOf(crl), crlNumber, issuerEnds: issuer.notAfter, entries: () => entriesOf(crl) };
};

/** Whether it is still fresh does not matter: what was revoked then is revoked, however long the outage took. */
const issuerOf = (crl: Crl, authorities: readonly Certificate[]): Certificate => {
  const named = authorities.filter(({ subjectNameDer }) => namesEqual(subjectNameDer, crl.issuerNameDer));
  let refusal: unknown = new CaError('ERR_CRL_ISSUER', `the CRL is of no CA in the backup; give those of ${authorities.map(({ subject }) => formatName(subject)).join(' or ')}`);
  // Two keys may go by one name.
  for (const candidate of named) {
    try {
      verifyCrl(crl, candidate, { at: crl.thisUpdate });
      return candidate;
    } catch (error) {
      refusal = error;
    }
  }
  throw refusal;
};

/** Partitions are told by the address that a CRL names; each has numbers of its own. */
const scopeOf = ({ issuingDistributionPoint }: Crl): CrlScope => {
  for (const uri of issuingDistributionPoint?.uris ?? []) {
    const [, path = ''] = /\/crl\/(.+)$/.exec(uri) ?? [];
    const known = parseCrlPath(path);
    if (known !== undefined) return known.scope;
  }
  return wholeScope;
};

function* entriesOf(crl: Crl): Generator<ListedRevocation> {
  const cursor = crl.entries();
  while (cursor.next()) {
    const { reason } = cursor;
    if (reason === undefined) continue;
    yield { serial: serialToHex(cursor.der.subarray(cursor.serialOffset, cursor.serialOffset + cursor.serialLength)), revokedAt: new Date(cursor.revokedAt * 1_000), reason };
  }
}
