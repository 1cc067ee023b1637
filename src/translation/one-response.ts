/** One request to a modern MCP server, up to its response. */
import { SallyportError } from '../errors.ts';
import type { UpstreamAnswer } from '../upstream/upstream.ts';
import { readAnswer } from './fields.ts';
import type { Fields } from './fields.ts';

export interface OneResponseOptions {
  readonly signal: AbortSignal;
  /** A notification that came before the response. Resolves when there is room for more. */
  readonly onNotification?: (method: string, message: Fields) => Promise<void>;
}

/** Milliseconds that a stream may stay open after its response. */
const lingerMs = 1_000;

/**
 * Gives the response message as soon as it is there: a stream that does not end with it is not waited for.
 * @throws SallyportError `ERR_UPSTREAM_INVALID` when there is none
 */
export const oneResponse = async (send: (signal: AbortSignal) => Promise<UpstreamAnswer>, { signal, onNotification }: OneResponseOptions): Promise<Fields> => {
  const leaving = new AbortController();
  const answer = await send(AbortSignal.any([signal, leaving.signal]));
  const response = answer.kind === 'json' ? readAnswer(answer.text).at(-1) : answer.kind === 'stream' ? await responseIn(answer, onNotification) : undefined;
  setTimeout(() => leaving.abort(new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the request is over')), lingerMs).unref();
  if (response === undefined) throw withoutResponse();
  return response;
};

const responseIn = ({ events }: Extract<UpstreamAnswer, { kind: 'stream' }>, onNotification: OneResponseOptions['onNotification']): Promise<Fields> =>
  new Promise((resolve, reject) => {
    const read = async (): Promise<void> => {
      for await (const event of events) {
        for (const message of event.data === '' ? [] : readAnswer(event.data)) {
          if (message.method === undefined) resolve(message);
          else if (typeof message.method === 'string') await onNotification?.(message.method, message);
        }
      }
      reject(withoutResponse());
    };
    read().catch(reject);
  });

const withoutResponse = (): SallyportError => new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server ended its answer without a response');
