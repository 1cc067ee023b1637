/** What an MCP server has asked its client, of which responses and later notices must be. */
import { isObject, isRequestId } from '../mcp/read-messages.ts';
import type { RequestId } from '../mcp/message.ts';
import type { Session } from './sessions.ts';

type Fields = Readonly<Record<string, unknown>>;

/** A server that never stops asking must not fill the memory; the oldest question goes first. */
const maxAsked = 1024;

const maxIdLength = 1_024;

/** JSON-RPC code of an error that asks for an elicitation by URL first (revision 2025-11-25, elicitation). */
const urlElicitationRequired = -32042;

/** Elicitations by URL of each session, which a server reports as complete later and on another stream. */
const elicitationsOf = new WeakMap<Session, Map<string, true>>();

export class AskedOfClient {
  /** Of the one answer this belongs to, where there is no session. */
  readonly #own = new Map<string, true>();

  /** A request that is about to be delivered: its response is awaited, once. */
  noteRequest(session: Session | undefined, { id, method, params }: { readonly id: RequestId; readonly method: string; readonly params: Fields }): void {
    if (method === 'elicitation/create') this.#noteElicitation(session, params.elicitationId);
    const token = isObject(params._meta) ? params._meta.progressToken : undefined;
    if (session !== undefined) putLast(session.awaited, id, isRequestId(token) ? token : undefined);
  }

  noteError(session: Session | undefined, error: unknown): void {
    if (!isObject(error) || error.code !== urlElicitationRequired || !isObject(error.data) || !Array.isArray(error.data.elicitations)) return;
    for (const one of error.data.elicitations as readonly unknown[]) if (isObject(one)) this.#noteElicitation(session, one.elicitationId);
  }

  knowsElicitation(session: Session | undefined, id: unknown): boolean {
    return typeof id === 'string' && (this.#own.has(id) || (session !== undefined && elicitationsOf.get(session)?.has(id) === true));
  }

  #noteElicitation(session: Session | undefined, id: unknown): void {
    // One too long to be an id is not remembered, so that it is never reported as complete.
    if (typeof id !== 'string' || id.length > maxIdLength) return;
    let known = this.#own;
    if (session !== undefined) {
      known = elicitationsOf.get(session) ?? known;
      elicitationsOf.set(session, known);
    }
    putLast(known, id, true);
  }
}

const putLast = <Key, Value>(map: Map<Key, Value>, key: Key, value: Value): void => {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= maxAsked) return;
    map.delete(oldest);
  }
};
