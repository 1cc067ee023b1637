/** One stored certificate against its own row: what the row says, and what the octets say. Pure. */
import { isIP } from 'node:net';
import type { CertificateRecord } from '../ports.ts';
import { roleOf } from '../record-role.ts';
import type { Certificate } from '../x509/certificate.ts';
import { formatName, nameAttributes } from '../x509/name.ts';

/** What of the row is not what the certificate (or, where none is stored, what was to be signed) says. */
export const rowDifferences = (record: CertificateRecord, certificate: Certificate, trustDomain: string): readonly string[] => {
  const { subject, uris, dnsNames, notBefore, notAfter, serial, spkiHash, thumbprint } = certificate;
  const compared: readonly (readonly [what: string, row: string, certificate: string])[] = [
    ['serial', record.serial, serial],
    ['subject', record.subject, formatName(subject)],
    ['common name', record.commonName, nameAttributes(subject, 'CN')[0] ?? ''],
    ['organizational units', JSON.stringify(record.organizationalUnits), JSON.stringify(roleOf(record) === 'ca' ? [] : nameAttributes(subject, 'OU'))],
    ['URI', record.uri ?? '', uris[0] ?? ''],
    ['DNS names', JSON.stringify(record.dnsNames), JSON.stringify(dnsNames)],
    ['notBefore', moment(record.notBefore), moment(notBefore)],
    ['notAfter', moment(record.notAfter), moment(notAfter)],
    ['key hash', record.spkiHash, spkiHash],
    ...(record.der === undefined ? [] : [['thumbprint', record.thumbprint ?? '', thumbprint] as const]),
  ];
  const differing = compared.filter(([, row, octets]) => row !== octets).map(([what, row, octets]) => `${what}: the row says ${shown(row)}, the certificate ${shown(octets)}`);
  const agent = foreignAgent(record, certificate, trustDomain);
  return agent === undefined ? differing : [...differing, agent];
};

/** The row's agent and profile decide over policy, limits and revocation: they must be those of the names in the certificate. */
function foreignAgent(record: CertificateRecord, { uris, dnsNames, ipAddresses, basicConstraints }: Certificate, trustDomain: string): string | undefined {
  const role = roleOf(record);
  const ca = basicConstraints?.ca === true;
  if (ca !== (role === 'ca')) return `agent: the row says ${shown(record.agent)}, the certificate is ${ca ? 'that of a CA' : 'not that of a CA'}`;
  if (role !== 'endEntity') return uris.length + dnsNames.length === 0 ? undefined : `agent: the row says ${shown(record.agent)}, the certificate has names of an agent or a server`;
  if (uris.length > 0) {
    // What stands between is the affair of the profile, which may have been changed since.
    const [uri = ''] = uris;
    const fits = uri.startsWith(`spiffe://${trustDomain}/`) && uri.endsWith(`/${record.agent}`);
    return fits ? undefined : `agent: the row says ${shown(record.agent)}, whose URI is spiffe://${trustDomain}/…/${record.agent}, the certificate has ${shown(uri)}`;
  }
  // An address has many spellings; that there is one has to do.
  const named = isIP(record.agent) === 0 ? dnsNames.includes(record.agent.toLowerCase()) : ipAddresses.length > 0;
  return named ? undefined : `agent: the row says ${shown(record.agent)}, which is no name in the certificate`;
}

/** A row can hold times that are none. */
export const moment = (time: Date): string => (Number.isNaN(time.getTime()) ? 'no time' : time.toISOString());

const shown = (text: string): string => (text.length > 120 ? `${JSON.stringify(text.slice(0, 120))}…` : text.startsWith('[') || text === '' ? text || 'nothing' : JSON.stringify(text));
