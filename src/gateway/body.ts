import type { IncomingMessage } from 'node:http';
import { SallyportError } from '../errors.ts';

export interface BodyLimits {
  /** Octets. */
  readonly bodyBytes: number;
  /** Milliseconds from the end of the head to the end of the body. */
  readonly bodyTimeoutMs: number;
}

/**
 * Reads a request body whole.
 * @throws SallyportError `ERR_HTTP_BODY_TOO_LARGE`, `ERR_HTTP_BODY_TIMEOUT`, `ERR_HTTP_BODY_INCOMPLETE`
 */
export const readBody = (request: IncomingMessage, limits: BodyLimits): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    if (Number(request.headers['content-length'] ?? 0) > limits.bodyBytes) {
      reject(tooLarge(limits.bodyBytes));
      return;
    }
    const chunks: Buffer[] = [];
    let length = 0;
    const timer = setTimeout(() => {
      settle();
      reject(new SallyportError('ERR_HTTP_BODY_TIMEOUT', 'the request body did not arrive in time', { facts: { bodyTimeoutMs: limits.bodyTimeoutMs, received: length } }));
    }, limits.bodyTimeoutMs);
    const onData = (chunk: Buffer): void => {
      length += chunk.length;
      if (length > limits.bodyBytes) {
        settle();
        reject(tooLarge(limits.bodyBytes));
        return;
      }
      chunks.push(chunk);
    };
    const onEnd = (): void => {
      settle();
      resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks, length));
    };
    const onClose = (): void => {
      settle();
      reject(new SallyportError('ERR_HTTP_BODY_INCOMPLETE', 'the connection closed before the request body was complete', { facts: { received: length } }));
    };
    const settle = (): void => {
      clearTimeout(timer);
      request.off('data', onData).off('end', onEnd).off('close', onClose).off('error', onClose);
    };
    request.on('data', onData).on('end', onEnd).on('close', onClose).on('error', onClose);
  });

const tooLarge = (bodyBytes: number): SallyportError =>
  new SallyportError('ERR_HTTP_BODY_TOO_LARGE', 'the request body is larger than gateway.limits.bodyBytes allows', { facts: { bodyBytes } });
