/** The evidence of one POST: an entry for each decided message once its outcome is known, and before that when it takes long. */
import type { RequestId } from '../mcp/message.ts';
import type { Caller, DecidedMessage, EndpointGate } from './gate.ts';

/** Milliseconds after which a call that is still running gets an audit entry of its own, so that a crash cannot erase that it began. */
const longRunningMs = 1_000;

export class CallRecord {
  readonly #gate: EndpointGate;
  readonly #caller: Caller;
  readonly #open = new Map<RequestId | DecidedMessage, DecidedMessage>();
  readonly #startedAt = performance.now();
  readonly #longRunning: NodeJS.Timeout | undefined;

  constructor(gate: EndpointGate, caller: Caller, decisions: readonly DecidedMessage[]) {
    this.#gate = gate;
    this.#caller = caller;
    for (const decided of decisions) this.#open.set(decided.message.kind === 'request' ? decided.message.id : decided, decided);
    if (this.#open.size > 0) this.#longRunning = setTimeout(() => this.#started(), longRunningMs);
  }

  /**
   * A request got its response, which may leave once this returns.
   * @throws SallyportError `ERR_AUDIT_UNAVAILABLE`
   */
  answered(id: RequestId, reason: string | undefined): void {
    this.#finish(id, { outcome: 'allowed', reason });
  }

  /**
   * The exchange is over, and with it what has no outcome yet.
   * @throws SallyportError `ERR_AUDIT_UNAVAILABLE`
   */
  close(failure: string | undefined): void {
    clearTimeout(this.#longRunning);
    for (const [key, { message }] of this.#open) {
      // Only requests have answers to wait for.
      if (failure !== undefined) this.#finish(key, { outcome: 'failed', reason: failure });
      else this.#finish(key, { outcome: 'allowed', reason: message.kind === 'request' ? 'unanswered' : undefined });
    }
  }

  #finish(key: RequestId | DecidedMessage, facts: { outcome: 'allowed' | 'failed'; reason: string | undefined }): void {
    const decided = this.#open.get(key);
    if (decided === undefined) return;
    this.#open.delete(key);
    this.#gate.record(this.#caller, decided, { ...facts, durationMs: Math.round((performance.now() - this.#startedAt) * 1000) / 1000 });
  }

  #started(): void {
    try {
      for (const decided of this.#open.values()) this.#gate.record(this.#caller, decided, { outcome: 'allowed', reason: 'started' });
    } catch {
      // The end of the call is recorded too, and is not answered if that fails.
    }
  }
}
