/** An MCP client's stdio on one side, a gateway on the other: what goes into the client's configuration. */
import type { Readable, Writable } from 'node:stream';
import type { ExitCode } from '../errors.ts';
import { LineReader } from '../upstream/line-reader.ts';
import { GatewayContact } from './contact.ts';
import { Conversation } from './conversation.ts';
import type { IdentityFetch } from './identity-fetch.ts';
import { cancelledId, factsOf, isModernMessage } from './message-text.ts';
import type { MessageFacts } from './message-text.ts';
import { isSubscription, ModernExchanges } from './modern-exchanges.ts';
import type { NoticeSink } from './notice.ts';

export interface StdioBridgeOptions {
  readonly url: URL;
  readonly fetch: IdentityFetch;
  /** Newline-delimited JSON-RPC from the MCP client. */
  readonly input: Readable;
  readonly output: Writable;
  readonly notice: NoticeSink;
  /** Ends the bridge before its input does. */
  readonly signal?: AbortSignal;
  /** Larger messages are dropped. Default 64 MiB; the gateway has a smaller limit of its own. */
  readonly maxMessageBytes?: number;
  /** Requests in flight before reading pauses. Default 256. */
  readonly maxInFlight?: number;
  /** How long requests may go on after the input ended. Default 30,000. */
  readonly drainMs?: number;
  readonly backoff?: { readonly firstMs: number; readonly longestMs: number };
}

/** A running bridge; `wake` is for identities that changed. */
export interface StdioBridge {
  /** 0 after a normal end, 3 when the gateway refused the identity, 1 when it was never reached. */
  readonly done: Promise<ExitCode>;
  wake(): void;
}

/** Carries messages until the input ends. Trouble is answered in words to the request it concerns, and the bridge goes on. */
export function startStdioBridge(options: StdioBridgeOptions): StdioBridge {
  const { input, output, notice, maxMessageBytes = 64 * 1024 * 1024, maxInFlight = 256, drainMs = 30_000 } = options;
  const over = Promise.withResolvers<void>();
  const contact = new GatewayContact(notice);
  const shared = { url: options.url, fetch: options.fetch, notice, contact, maxMessageBytes, deliver: (line: string) => write(output, line) };
  const conversation = new Conversation({ ...shared, backoff: options.backoff ?? { firstMs: 500, longestMs: 30_000 } });
  const modern = new ModernExchanges(shared);
  const inFlight = new Set<Promise<void>>();
  /** Initialization and what awaits no answer keep their order; requests start after what came before them. */
  let lane: Promise<void> = Promise.resolve();

  const track = (exchange: Promise<void>): void => {
    inFlight.add(exchange);
    if (inFlight.size >= maxInFlight) input.pause();
    void exchange.finally(() => {
      inFlight.delete(exchange);
      if (inFlight.size < maxInFlight && input.isPaused()) input.resume();
    });
  };
  /** Each message says its era itself, so an MCP client may ask in one era and go on in the other. */
  const carryModern = (line: string, [message, ...others]: readonly MessageFacts[]): boolean => {
    if (message === undefined || others.length > 0) return false;
    const cancelled = cancelledId(message);
    if (cancelled !== undefined && modern.cancel(cancelled)) return true;
    if (!isModernMessage(message)) return false;
    const exchange = modern.send(line, message);
    // A subscription lasts as long as it likes: it must neither fill the bridge nor keep it from ending.
    if (!isSubscription(message)) track(exchange);
    return true;
  };
  const lines = new LineReader({
    maxBytes: maxMessageBytes,
    onLine: (line) => {
      const facts = factsOf(line);
      if (facts === undefined) {
        notice({ level: 'warn', message: 'the MCP client sent something that is not a JSON-RPC message; it was dropped' });
        return;
      }
      if (carryModern(line, facts)) return;
      const answered = Promise.withResolvers<void>();
      const exchange = lane.then(() => conversation.send(line, facts, answered.resolve));
      const ordered = facts.some(({ kind, method }) => kind !== 'request' || method === 'initialize');
      if (ordered) lane = Promise.race([exchange, answered.promise]);
      // A stream that goes on after its answer, or whose request was cancelled, holds up nothing.
      track(facts.some(({ kind }) => kind === 'request') ? Promise.race([exchange, answered.promise]) : exchange);
    },
    onDropped: (reason, bytes) => notice({ level: 'warn', message: 'the MCP client sent a message that is too long or not UTF-8; it was dropped', facts: { reason, bytes } }),
  });

  input.on('data', (chunk: Buffer | string) => lines.push(typeof chunk === 'string' ? Buffer.from(chunk) : chunk));
  input.on('end', () => {
    lines.end();
    modern.endSubscriptions();
    const drained = Promise.allSettled(inFlight);
    const timer = setTimeout(over.resolve, drainMs);
    timer.unref();
    void drained.then(() => {
      clearTimeout(timer);
      over.resolve();
    });
  });
  input.on('error', () => over.resolve());
  // The MCP client went away: nobody is left to answer.
  output.on('error', () => over.resolve());
  output.on('close', () => over.resolve());
  if (options.signal?.aborted === true) over.resolve();
  options.signal?.addEventListener('abort', () => over.resolve(), { once: true });

  const done = over.promise.then(async (): Promise<ExitCode> => {
    modern.end();
    await conversation.end();
    input.pause();
    if (contact.state === 'refused') return 3;
    return contact.state === 'unreachable' && !contact.everAccepted ? 1 : 0;
  });
  return { done, wake: () => contact.wake() };
}

function write(output: Writable, line: string): Promise<void> {
  if (output.destroyed || output.writableEnded || output.errored !== null) return Promise.resolve();
  if (output.write(`${line}\n`)) return Promise.resolve();
  return new Promise((resolve) => {
    const settle = (): void => {
      output.off('drain', settle).off('close', settle).off('error', settle);
      resolve();
    };
    output.once('drain', settle).once('close', settle).once('error', settle);
  });
}
