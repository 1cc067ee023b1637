/**
 * Staples an OCSP answer to our own certificate for clients that ask for one (RFC 6066 §8, RFC 8446 §4.4.2.1).
 * A handshake never fails for want of an answer, and never waits long for one.
 */
import type { Server } from 'node:tls';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';

export interface StaplingOptions {
  /** DER OCSPResponse; undefined for a certificate it cannot speak about. */
  readonly staple: (certificate: Certificate) => Promise<Uint8Array | undefined>;
  /** Told of the first failure, and of the next only after an answer was stapled again. */
  readonly onFailure: (error: unknown) => void;
  /** Longest a handshake waits. Default 1,000. */
  readonly patienceMs?: number | undefined;
}

export const stapleTo = (server: Server, options: StaplingOptions): void => {
  let last: { readonly der: Buffer; readonly certificate: Certificate } | undefined;
  let failing = false;
  const answerFor = (der: Buffer): Promise<Uint8Array | undefined> => {
    // Of many handshakes in a row all show the same certificate.
    if (last?.der.equals(der) !== true) last = { der, certificate: parseCertificate(new Uint8Array(der)) };
    return options.staple(last.certificate);
  };
  server.on('OCSPRequest', (der: Buffer, _issuer: Buffer, done: (error: Error | null, answer: Buffer | null) => void) => {
    const conclude = once((answer: Uint8Array | undefined): void => {
      clearTimeout(timer);
      done(null, answer === undefined ? null : Buffer.from(answer.buffer, answer.byteOffset, answer.length));
    });
    const timer = setTimeout(() => conclude(undefined), options.patienceMs ?? 1_000).unref();
    Promise.resolve(der).then(answerFor).then(
      (answer) => {
        failing = false;
        conclude(answer);
      },
      (error: unknown) => {
        if (!failing) options.onFailure(error);
        failing = true;
        conclude(undefined);
      },
    );
  });
};

const once = <T>(work: (value: T) => void): ((value: T) => void) => {
  let done = false;
  return (value) => {
    if (done) return;
    done = true;
    work(value);
  };
};
