/**
 * Telling a refused peer why, without reading a byte of what it says. After a TLS 1.3 handshake a
 * destroyed connection shows up at the peer as "socket hang up", so it gets one fixed HTTP answer.
 */
import type { TLSSocket } from 'node:tls';
import { errorTable } from '../errors.ts';
import type { SallyportError } from '../errors.ts';

/** A peer that is slow to hang up, or that keeps sending, is cut. */
const LINGER_MS = 1_000;
const DRAIN_BYTES = 64 * 1024;
const MAX_LINGERING = 256;

let lingering = 0;

export const answerRefusal = (socket: TLSSocket, error: SallyportError): void => {
  if (socket.destroyed) return;
  if (lingering >= MAX_LINGERING) {
    socket.destroy();
    return;
  }
  lingering += 1;
  const timer = setTimeout(() => { socket.destroy(); }, LINGER_MS).unref();
  socket.once('close', () => {
    lingering -= 1;
    clearTimeout(timer);
  });
  // Unread bytes at close make the kernel send RST, which discards the answer at the peer: read and drop them.
  let drained = 0;
  socket.on('data', (chunk: Buffer) => {
    drained += chunk.length;
    if (drained > DRAIN_BYTES) socket.destroy();
  });
  socket.end(answerOf(error));
};

const answerOf = (error: SallyportError): string => {
  const { http, public: message } = errorTable[error.code];
  const body = JSON.stringify({ error: { code: error.code, message } });
  return [
    `HTTP/1.1 ${http} ${http === 403 ? 'Forbidden' : 'Refused'}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'Connection: close',
    '',
    body,
  ].join('\r\n');
};
