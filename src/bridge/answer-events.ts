/** Bodies of the gateway's answers, bounded: whole texts and server-sent events. */
import { SallyportError } from '../errors.ts';
import { SseDecoder } from '../mcp/sse.ts';
import type { SseEvent } from '../upstream/upstream.ts';

/** Events as they arrive. Ends when the stream ends; throws what ended it otherwise. */
export async function* eventsOf(response: Response, maxEventBytes: number): AsyncGenerator<SseEvent, void, undefined> {
  if (response.body === null) return;
  const decoder = new SseDecoder({ maxEventBytes });
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) yield* decoder.push(chunk);
}

/** A whole body as text. */
export async function textOf(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  if (response.body !== null) {
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > maxBytes) throw new SallyportError('ERR_UPSTREAM_TOO_LARGE', `the answer is larger than ${maxBytes} bytes; ask for less`, { facts: { maxBytes } });
      chunks.push(chunk);
    }
  }
  return Buffer.concat(chunks).toString('utf8');
}

export const mediaTypeOf = (response: Response): string => (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
