/** The way of an admitted HTTP exchange to the upstream and of its answer back, with its deadline, its record and its end. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { codeOf, SallyportError } from '../errors.ts';
import { subscriptionIdKey } from '../mcp/envelope.ts';
import type { RequestId } from '../mcp/message.ts';
import type { SeenNames } from '../mcp/instructions.ts';
import type { SealedValues } from '../mcp/sealed-values.ts';
import type { Sealer } from '../mcp/sealing.ts';
import { AnswerFilter } from './answer-filter.ts';
import { startCallDeadline } from './call-deadline.ts';
import { CallRecord } from './call-record.ts';
import type { ToolGuard } from './tool-guard.ts';
import type { Exchange, Leg } from './exchange.ts';
import type { Caller, DecidedMessage, EndpointGate } from './gate.ts';
import { settle } from './sessions.ts';
import type { InFlight, Session, SessionTable } from './sessions.ts';

export interface CarriageOptions {
  readonly leg: Leg;
  readonly gate: EndpointGate;
  readonly sessions: SessionTable;
  readonly sealer: Sealer;
  readonly values: SealedValues;
  readonly names: SeenNames;
  /** Absent: how tools are defined is nobody's concern here. */
  readonly tools?: ToolGuard | undefined;
  /** Protocol revisions that a modern MCP client may speak here. */
  readonly revisions: readonly string[];
  readonly limits: {
    /** Milliseconds that a call may run in all. */
    readonly callTimeoutMs: number;
  };
}

/** One HTTP request on its way through an endpoint. */
export interface Work {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  caller: Caller;
  /** Called at the end, whatever it was. */
  readonly releases: (() => void)[];
  /** Requests of the MCP client in this POST that have no answer yet. */
  readonly pending: Map<RequestId, InFlight>;
  /** Of the one request in the body. */
  id: RequestId | null;
  /** Whether the audit log knows of it through its decisions. */
  decided: boolean;
  resumable?: boolean;
}

/** What is to be carried, once it is decided. */
export type Carried = Pick<Exchange, 'front' | 'era' | 'envelope' | 'subscription' | 'session' | 'call' | 'body'>;

export class Carriage {
  readonly #options: CarriageOptions;
  /** Ends a listening stream in good order. */
  readonly #listening = new Set<() => Promise<void>>();

  constructor(options: CarriageOptions) {
    this.#options = options;
  }

  /** Tells everyone who listens that nothing more will come; resolves when they were told. */
  async endSubscriptions(): Promise<void> {
    await Promise.all([...this.#listening].map((end) => end()));
  }

  async carry(work: Work, what: Carried, decisions: readonly DecidedMessage[]): Promise<void> {
    const { gate, sessions, leg } = this.#options;
    const { response, caller, pending } = work;
    const record = new CallRecord(gate, caller, decisions);
    const aborting = new AbortController();
    const abort = (reason: SallyportError): void => aborting.abort(reason);
    const onClose = (): void => {
      if (!response.writableFinished) abort(new SallyportError('ERR_HTTP_ABANDONED', 'the client went away before the answer was complete'));
    };
    response.once('close', onClose);
    const exchange = this.#exchange(work, { ...what, signal: aborting.signal }, record);
    exchange.session?.exchanges.add(abort);
    for (const [id, inFlight] of pending) inFlight.onCancelled = () => this.#endCancelled(exchange, { id, pending, abort });
    const endListening = what.subscription === undefined ? undefined : async (): Promise<void> => {
      await endSubscription(response, pending.keys());
      abort(new SallyportError('ERR_DRAINING', 'the gateway is shutting down: listen again in a moment'));
    };
    if (endListening !== undefined) this.#listening.add(endListening);
    const endDeadline = pending.size === 0 || endListening !== undefined ? undefined : startCallDeadline(this.#options.limits.callTimeoutMs, abort);
    let failure: unknown;
    try {
      this.#assertWanted(work, what.session);
      await leg.carry(exchange);
      // Ended from here: what the upstream had left to say is not waited for.
      if (aborting.signal.aborted && !response.writableEnded) throw aborting.signal.reason;
    } catch (error) {
      // Ended in good order by ourselves.
      if (response.writableEnded && codeOf(aborting.signal.reason) === 'ERR_DRAINING') return;
      failure = aborting.signal.aborted ? aborting.signal.reason : error;
      const code = codeOf(failure);
      // Event ids the client holds lead to answers it may still fetch, and a call that it left goes on: it may cancel it.
      if (what.session !== undefined && !exchange.filter.resumable && code !== 'ERR_HTTP_ABANDONED') for (const id of pending.keys()) settle(what.session, id);
      if (what.session !== undefined && sessionIsGone.has(code)) sessions.end(what.session, 'upstream');
      work.resumable = exchange.filter.resumable && !sessionIsGone.has(code) && code !== 'ERR_AUDIT_UNAVAILABLE';
      throw failure;
    } finally {
      if (endListening !== undefined) this.#listening.delete(endListening);
      endDeadline?.();
      response.off('close', onClose);
      exchange.session?.exchanges.delete(abort);
      for (const inFlight of pending.values()) delete inFlight.onCancelled;
      record.close(failure === undefined ? undefined : codeOf(failure));
    }
  }

  /** While it was being decided, the client may have gone or been cut, and its session ended: nobody says so a second time. */
  #assertWanted({ request, response }: Work, session: Session | undefined): void {
    if (response.destroyed || request.socket.destroyed) throw new SallyportError('ERR_HTTP_ABANDONED', 'the client went away before its request was sent on');
    if (session !== undefined && !this.#options.sessions.holds(session)) throw new SallyportError('ERR_MCP_SESSION_UNKNOWN', 'the session ended before the request was sent on: initialize a new one');
  }

  #exchange(work: Work, what: Carried & Pick<Exchange, 'signal'>, record: CallRecord): Exchange {
    const { gate, leg, sealer, sessions, values, names, revisions, tools } = this.#options;
    const { request, response, caller, pending } = work;
    const { principal } = caller;
    const exchange: Exchange = {
      request, response, caller, ...what, principal, dropped: [],
      roles: gate.grantsOf(principal).roles,
      filter: new AnswerFilter({
        era: what.era, logLevel: what.envelope?.logLevel, clientCapabilities: what.envelope?.clientCapabilities, subscription: what.subscription,
        upstream: leg.upstream, principal, sealer, values, names, revisions, pending,
        session: () => exchange.session,
        allows: (action) => gate.decide(principal, action).effect === 'allow' && (action.kind !== 'tool' || tools?.objectionTo(work.caller, action.name) === undefined),
        onListed: (params, result) => tools?.note(work.caller, params, result),
        onToolsChanged: () => tools?.changed(work.caller),
        isDenied: (action) => gate.decide(principal, action).reason === 'explicitDeny',
        hasClass: (capability) => gate.grantsOf(principal).has(leg.upstream, capability),
        hasAll: (nameClass) => gate.grantsOf(principal).hasAll(leg.upstream, nameClass),
        onDroppedRequest: (id) => exchange.dropped.push(id),
        onAnswered: (id, failed) => {
          record.answered(id, failed ? 'upstreamError' : undefined);
          const asked = pending.get(id);
          if (failed && asked?.method === 'resources/subscribe' && exchange.session !== undefined) forgetSubscription(exchange.session.subscribed, String(asked.params?.uri));
        },
      }),
      openSession: (upstreamSession) => {
        const session = sessions.create(principal, { upstream: leg.upstream, upstreamSession });
        exchange.session = session;
        // Cut in the same moment: nobody would ever end it.
        if (what.signal.aborted) sessions.end(session, 'revoked', what.signal.reason as SallyportError);
        return session;
      },
    };
    return exchange;
  }

  /** A cancelled request needs no response, so its exchange would stay open for ever. */
  #endCancelled({ session }: Exchange, { id, pending, abort }: { id: RequestId; pending: Map<RequestId, InFlight>; abort: (reason: SallyportError) => void }): void {
    setTimeout(() => {
      if (!pending.delete(id)) return;
      if (session !== undefined) settle(session, id);
      if (pending.size === 0) abort(new SallyportError('ERR_HTTP_ABANDONED', 'the client cancelled the request and no response came'));
    }, cancelGraceMs).unref();
  }
}

/** The resource is not watched any more: its place may be taken. */
export const forgetSubscription = (subscribed: Session['subscribed'], uri: string): void => {
  subscribed.get(uri)?.();
  subscribed.delete(uri);
};

/** What the upstream fails with when it holds nothing of the session any more. */
const sessionIsGone: ReadonlySet<string> = new Set(['ERR_MCP_SESSION_UNKNOWN', 'ERR_UPSTREAM_EXITED']);

/** Milliseconds a server has to answer a request that was cancelled. */
const cancelGraceMs = 5_000;

/** The empty result that tells a listener its subscription ended, not the connection (revision 2026-07-28). */
const endSubscription = async (response: ServerResponse, ids: Iterable<RequestId>): Promise<void> => {
  if (!response.headersSent || response.writableEnded || response.destroyed) return;
  for (const id of ids) {
    response.write(`data: ${JSON.stringify({ jsonrpc: '2.0', id, result: { resultType: 'complete', _meta: { [subscriptionIdKey]: id } } })}\n\n`);
  }
  await Promise.race([new Promise<void>((resolve) => response.end(resolve)), sleep(farewellMs, undefined, { ref: false })]);
};

/** Milliseconds a listener that reads slowly has to take the last message. */
const farewellMs = 500;
