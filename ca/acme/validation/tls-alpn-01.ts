/** TLS with ALPN challenge, RFC 8737, and for addresses RFC 8738 §6. */
import { hash } from 'node:crypto';
import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { parseCertificate } from '../../x509/certificate.ts';
import { DerReader } from '../../x509/der.ts';
import { addressOf } from '../address-range.ts';
import type { Identifier } from '../ports.ts';
import { AcmeProblem } from '../problem.ts';
import { connectTo, deadlineOf, endedBy } from './network.ts';
import type { Validation, ValidationNetwork } from './network.ts';

const protocol = 'acme-tls/1';
/** id-pe-acmeIdentifier, RFC 8737 §3. */
const acmeIdentifier = '1.3.6.1.5.5.7.1.31';

/** Resolves when the host shows the certificate of this challenge. @throws AcmeProblem */
export const validateTlsAlpn01 = async ({ identifier, keyAuthorization }: Validation, network: ValidationNetwork): Promise<void> => {
  const signal = deadlineOf(network);
  const { value } = identifier;
  const socket = await connectTo(value, network.tlsPort, network, signal);
  try {
    check(await endedBy(shown(socket, serverName(value)), signal), identifier, keyAuthorization);
  } catch (cause) {
    if (cause instanceof AcmeProblem) throw cause;
    throw new AcmeProblem(signal.aborted ? 'connection' : 'tls', signal.aborted ? `${value} did not finish the handshake in time` : `the handshake with ${value} failed: it must offer ${protocol} by ALPN`, { cause });
  } finally {
    socket.destroy();
  }
};

/** What the server shows, and nothing is sent: RFC 8737 §3 ends the connection after the handshake. */
const shown = (plain: Socket, servername: string): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    // RFC 8737 §3: TLS 1.2 or higher. The certificate is signed by itself.
    const socket = connectTls({ socket: plain, servername, ALPNProtocols: [protocol], rejectUnauthorized: false, minVersion: 'TLSv1.2' });
    socket.on('error', reject);
    socket.once('secureConnect', () => {
      const certificate = socket.getPeerX509Certificate()?.raw;
      const agreed = socket.alpnProtocol;
      socket.destroy();
      if (agreed !== protocol) reject(new AcmeProblem('unauthorized', `the server did not agree to ${protocol}`));
      else if (certificate === undefined) reject(new AcmeProblem('unauthorized', 'the server showed no certificate'));
      else resolve(certificate);
    });
  });

const check = (der: Uint8Array, { type, value }: Identifier, keyAuthorization: string): void => {
  const refuse = (why: string, cause?: unknown): AcmeProblem => new AcmeProblem('unauthorized', `the certificate shown for ${value} ${why}`, { cause });
  let names: readonly string[];
  let other: number;
  let proof: { readonly critical: boolean; readonly digest: Uint8Array } | undefined;
  try {
    const certificate = parseCertificate(new Uint8Array(der));
    names = type === 'ip' ? certificate.ipAddresses : certificate.dnsNames.map((name) => name.toLowerCase());
    other = certificate.dnsNames.length + certificate.ipAddresses.length + certificate.uris.length + certificate.emails.length + certificate.otherNames.length;
    const extension = certificate.extensions.get(acmeIdentifier);
    proof = extension && { critical: extension.critical, digest: digestIn(extension.value) };
  } catch (cause) {
    throw refuse('cannot be read', cause);
  }
  if (other !== 1 || names[0] !== value) throw refuse('must have this name as its only one');
  if (proof === undefined) throw refuse('has no acmeIdentifier extension: the server does not know of the challenge');
  if (!proof.critical) throw refuse('has an acmeIdentifier extension that is not critical');
  if (!hash('sha256', keyAuthorization, 'buffer').equals(proof.digest)) throw refuse('holds the proof of another challenge');
};

const digestIn = (value: Uint8Array): Uint8Array => {
  const reader = new DerReader(value);
  const digest = reader.octetString();
  reader.finish();
  return digest;
};

/** RFC 8738 §6: SNI holds no addresses, so the name of the reverse mapping stands in (RFC 1034 §5.2.1, RFC 3596 §2.5). */
export const serverName = (host: string): string => {
  if (isIP(host) === 0) return host;
  const address = addressOf(host);
  if (address?.family !== 6) return `${host.split('.').toReversed().join('.')}.in-addr.arpa`;
  return `${[...address.bits.toString(16).padStart(32, '0')].toReversed().join('.')}.ip6.arpa`;
};
