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

/** The messages of an answer, whichever of both forms it has. */
export async function* bodiesOf(response: Response, maxBytes: number): AsyncGenerator<string, void, undefined> {
  if (mediaTypeOf(response) !== 'text/event-stream') {
    yield await textOf(response, maxBytes);
    return;
  }
  for await (const event of eventsOf(response, maxBytes)) if (isMessage(event)) yield event.data;
}

export const mediaTypeOf = (response: Response): string => (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';

/** Whether an event carries a message; others only keep the stream alive or say where it may be resumed. */
export const isMessage = (event: Pick<SseEvent, 'data' | 'event'>): boolean => event.data !== '' && (event.event === undefined || event.event === 'message');

export const cutOff = (url: URL, cause: unknown): SallyportError =>
  new SallyportError('ERR_BRIDGE_UNREACHABLE', `the connection to the gateway ${url.host} ended before the answer; the request may have been carried out, so look before you repeat it`, {
    facts: { host: url.host, reason: 'ECONNRESET' },
    cause,
  });
