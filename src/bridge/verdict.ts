/** Asks a gateway how it takes an identity, without sending a request: it answers a refused peer by itself. */
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import type { SallyportError } from '../errors.ts';
import { explainAnswer, explainFailure, readAnswer } from './explain.ts';
import type { Identity } from './identity.ts';

export interface VerdictQuestion {
  readonly url: URL;
  readonly identity: Identity;
  /** Key, certificate and roots. */
  readonly tls: ConnectionOptions;
  readonly timeoutMs: number;
}

/** How long after the handshake silence means acceptance: the verdict follows the handshake at once. */
const silenceMs = 500;
const maxAnswerBytes = 16_384;

/** The refusal in words, or undefined when the gateway keeps the connection open. */
export function readVerdict({ url, identity, tls, timeoutMs }: VerdictQuestion): Promise<SallyportError | undefined> {
  const context = { url, identity };
  const host = url.hostname.replace(/^\[|\]$/gu, '');
  return new Promise((resolve) => {
    const socket = connect({ ...tls, host, port: Number(url.port === '' ? 443 : url.port), servername: /^[\d.]+$|:/u.test(host) ? '' : host });
    let text = '';
    const finish = (verdict: SallyportError | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(verdict);
    };
    const explained = (error: unknown): SallyportError => {
      const [head = '', body = ''] = text.split('\r\n\r\n', 2);
      const status = /^HTTP\/1\.1 (\d{3}) /u.exec(head)?.[1];
      return status === undefined ? explainFailure(error, context) : explainAnswer(readAnswer(Number(status), body), context);
    };
    let timer = setTimeout(() => finish(explained(Object.assign(new Error('connecting took too long'), { code: 'ETIMEDOUT' }))), timeoutMs);
    socket.on('secureConnect', () => {
      clearTimeout(timer);
      timer = setTimeout(() => finish(undefined), silenceMs);
    });
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.length > maxAnswerBytes) finish(explained(undefined));
    });
    const closed = Object.assign(new Error('closed without an answer'), { code: 'ECONNRESET' });
    socket.on('end', () => finish(explained(closed)));
    socket.on('error', (error) => finish(explained(error)));
    socket.on('close', () => finish(explained(closed)));
  });
}
