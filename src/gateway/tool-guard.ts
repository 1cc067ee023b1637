/** What the watch over tool definitions means for one call: whether it must ask first, what it objects to, which headers it needs. */
import type { JsonRpcMessage } from '../mcp/message.ts';
import { checkParamHeaders } from '../mcp/param-headers.ts';
import { isObject } from '../mcp/read-messages.ts';
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

  /** Makes sure, where policy depends on it, that the tools about to be called are known as they are now. */
  async prepare(caller: Caller, messages: readonly JsonRpcMessage[], ask: Ask): Promise<void> {
    const { watch, policy } = this.#options;
    if (watch.isAskedBy(policy()) && messages.some((message) => message.kind === 'request' && message.method === 'tools/call')) await watch.ensureFresh(viewOf(caller), pagesFrom(ask));
  }

  /**
   * For an MCP server that never sees a header (mcp.md row 22).
   * @throws SallyportError `ERR_MCP_HEADER_MISMATCH`
   */
  async checkHeaders(caller: Caller, message: JsonRpcMessage, { headers = {}, ask }: { readonly headers: Readonly<Record<string, string>> | undefined; readonly ask: Ask }): Promise<void> {
    if (message.kind !== 'request' || message.method !== 'tools/call' || typeof message.params?.name !== 'string') return;
    const { watch } = this.#options;
    const view = viewOf(caller);
    const { name, arguments: args } = message.params;
    if (watch.definitionOf(view, name) === undefined) await watch.ensureFresh(view, pagesFrom(ask));
    const declared = watch.definitionOf(view, name)?.paramHeaders;
    if (declared !== undefined) checkParamHeaders(declared, args, headers);
  }
}

const viewOf = ({ upstream, session, principal }: Caller): ToolView => ({ upstream, session, principal: principal.id });

const pagesFrom = (ask: Ask): AskForTools => async (cursor) => {
  const { tools, nextCursor } = await ask('tools/list', cursor === undefined ? {} : { cursor });
  return { tools: Array.isArray(tools) ? tools : [], nextCursor: isObject(nextCursor) ? undefined : nextCursor };
};
