/** What the watch over tool definitions means for one call: whether it must ask first, what it objects to, which headers it needs. */
import { SallyportError } from '../errors.ts';
import type { JsonRpcMessage } from '../mcp/message.ts';
import { checkParamHeaders } from '../mcp/param-headers.ts';
import type { DecisionReason } from '../policy/decision.ts';
import type { Policy } from '../policy/policy.ts';
import type { AskForTools, ToolView, ToolWatch } from '../tools/tool-watch.ts';
import type { Caller } from './gate.ts';

export interface ToolGuardOptions {
  readonly watch: ToolWatch;
  /** The one in force. */
  readonly policy: () => Policy;
}

/** Asks the MCP server of one exchange, as its principal. */
export type Ask = (method: string, params: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>;

export class ToolGuard {
  readonly #options: ToolGuardOptions;

  constructor(options: ToolGuardOptions) {
    this.#options = options;
  }

  /** Notes a `tools/list` result before anything is taken from it. */
  note(caller: Caller, params: Readonly<Record<string, unknown>> | undefined, result: Readonly<Record<string, unknown>>): void {
    const { cursor } = params ?? {};
    if (Array.isArray(result.tools)) this.#options.watch.observe(viewOf(caller), { tools: result.tools, cursor: typeof cursor === 'string' ? cursor : undefined, nextCursor: typeof result.nextCursor === 'string' ? result.nextCursor : undefined });
  }

  changed(caller: Caller): void {
    this.#options.watch.listChanged(viewOf(caller));
  }

  forget(caller: Pick<Caller, 'upstream' | 'session'> & { readonly principalId: string }): void {
    this.#options.watch.forget({ upstream: caller.upstream, session: caller.session, principal: caller.principalId });
  }

  /** Why a tool that policy grants is refused all the same. */
  objectionTo(caller: Caller, name: string): DecisionReason | undefined {
    return this.#options.watch.objectionTo(this.#options.policy(), viewOf(caller), name);
  }

  /**
   * Makes sure, where policy depends on it, that the tools about to be used are known as they are now.
   * @throws SallyportError `ERR_UPSTREAM_*`, CaError `ERR_STORE_UNAVAILABLE`: then nothing may be called
   */
  async prepare(caller: Caller, messages: readonly JsonRpcMessage[], ask: Ask): Promise<void> {
    const { watch, policy } = this.#options;
    if (watch.isAskedBy(policy()) && messages.some((message) => message.kind === 'request' && usesTool.has(message.method))) await watch.ensureFresh(viewOf(caller), pagesFrom(ask));
  }

  /**
   * For an MCP server that never sees a header (mcp.md row 22).
   * @throws SallyportError `ERR_MCP_HEADER_MISMATCH`; `ERR_UPSTREAM_*` when it cannot be asked what it wants
   */
  async checkHeaders(caller: Caller, message: JsonRpcMessage, { headers = {}, ask }: { readonly headers: Readonly<Record<string, string>> | undefined; readonly ask: Ask }): Promise<void> {
    if (message.kind !== 'request' || message.method !== 'tools/call' || typeof message.params?.name !== 'string') return;
    const { watch } = this.#options;
    const view = viewOf(caller);
    const { name, arguments: args } = message.params;
    const check = (): void => checkParamHeaders(watch.definitionOf(view, name)?.paramHeaders ?? [], args, headers);
    // A server that answers with an error says of no tool that it wants headers.
    const know = (): Promise<void> => watch.ensureKnown(view, pagesFrom(ask)).catch((error: unknown) => {
      if (errorCodeIn(error) === undefined) throw error;
    });
    await know();
    try {
      check();
    } catch {
      // The client may know a newer definition than we do.
      watch.expire(view);
      await know();
      check();
    }
  }
}

/** A task gives its result only while its tool may still be called. */
const usesTool: ReadonlySet<string> = new Set(['tools/call', 'tasks/get', 'tasks/result', 'tasks/update', 'tasks/cancel']);

const methodNotFound = -32_601;

const viewOf = ({ upstream, session, principal }: Caller): ToolView => ({ upstream, session, principal: principal.id });

const pagesFrom = (ask: Ask): AskForTools => async (cursor) => {
  try {
    const { tools, nextCursor } = await ask('tools/list', cursor === undefined ? {} : { cursor });
    if (!Array.isArray(tools)) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a result without the array tools');
    return { tools, nextCursor };
  } catch (error) {
    // A server that has no such list has no tools.
    if (errorCodeIn(error) === methodNotFound) return { tools: [] };
    throw error;
  }
};

/** Of the JSON-RPC error that the MCP server answered with. */
const errorCodeIn = (error: unknown): unknown => (error instanceof SallyportError ? error.facts.code : undefined);
