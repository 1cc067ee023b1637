/**
 * The audit log as the gateway uses it: `record` waits for the disk, `enqueue` gathers what happens
 * within a bounded delay. When the store cannot be written, `available` says so and the gateway
 * denies; what was enqueued is kept and written once the store is back.
 */
import type { AuditEvent, Clock } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { systemClock } from '../system.ts';
import type { AuditStore } from './audit-store.ts';

export interface AuditLogOptions {
  readonly clock?: Clock;
  /** Longest that an enqueued event waits before it is written. Default 50. */
  readonly maxDelayMs?: number;
  /** Events per write. Default 500. */
  readonly maxBatch?: number;
  /** Events that may wait while the store is away; then `enqueue` refuses. Default 20,000. */
  readonly maxWaiting?: number;
  /** Called with the note after each write, to keep it outside the store. */
  readonly onCheckpoint?: (note: string) => void;
  /** Called when the log becomes unavailable (with the error) and available again (without). */
  readonly onAvailability?: (error: unknown) => void;
}

const firstRetryMs = 100;
const lastRetryMs = 2_000;

export class AuditLog {
  readonly #store: AuditStore;
  readonly #options: Required<Pick<AuditLogOptions, 'clock' | 'maxDelayMs' | 'maxBatch' | 'maxWaiting'>> & AuditLogOptions;
  #waiting: AuditEvent[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #retryMs = firstRetryMs;
  #failure: unknown;
  #closed = false;

  constructor(store: AuditStore, options: AuditLogOptions = {}) {
    this.#store = store;
    this.#options = { ...options, clock: options.clock ?? systemClock, maxDelayMs: options.maxDelayMs ?? 50, maxBatch: options.maxBatch ?? 500, maxWaiting: options.maxWaiting ?? 20_000 };
  }

  /** False from the first failed write until one succeeds. */
  get available(): boolean {
    return this.#failure === undefined;
  }

  /** Events that are not on disk yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** On disk when it resolves. When it rejects (`ERR_AUDIT_UNAVAILABLE`) the event is not in the log, and what it is about must not happen. */
  async record(event: AuditEvent): Promise<void> {
    this.#refuseWhenClosed();
    try {
      await this.#append([event]);
    } catch (error) {
      this.#becomeUnavailable(error);
      throw unavailable(error);
    }
  }

  /** Throws `ERR_AUDIT_UNAVAILABLE` when no more can be kept; until then nothing is lost but by the end of the process. */
  enqueue(event: AuditEvent): void {
    this.#refuseWhenClosed();
    if (this.#waiting.length >= this.#options.maxWaiting) throw unavailable(this.#failure);
    this.#waiting.push(event);
    if (this.#failure !== undefined || this.#writing !== undefined) return;
    if (this.#waiting.length >= this.#options.maxBatch) this.#write();
    else this.#writeAfter(this.#options.maxDelayMs);
  }

  /** Resolves once everything enqueued so far is on disk; rejects when it could not be written. */
  async flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      this.#write();
      await this.#writing;
      if (this.#failure !== undefined) throw unavailable(this.#failure);
    }
  }

  /** Writes what waits and takes no more. Rejects, naming the number of events lost, when the store is away. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.flush();
    } catch (error) {
      throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'the last audit entries could not be written; see the log for them', { facts: { lost: this.#waiting.length }, cause: error });
    } finally {
      clearTimeout(this.#timer);
    }
  }

  #write(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#writeWaiting().finally(() => {
      this.#writing = undefined;
      if (this.#waiting.length === 0) return;
      if (this.#failure !== undefined) {
        if (!this.#closed) this.#writeAfter(this.#retryMs);
        this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs);
      } else if (this.#waiting.length >= this.#options.maxBatch) this.#write();
      else this.#writeAfter(this.#options.maxDelayMs);
    });
  }

  /** One batch; it leaves the queue only once it is on disk. */
  async #writeWaiting(): Promise<void> {
    const batch = this.#waiting.slice(0, this.#options.maxBatch);
    try {
      await this.#append(batch);
      this.#waiting.splice(0, batch.length);
    } catch (error) {
      this.#becomeUnavailable(error);
    }
  }

  async #append(events: readonly AuditEvent[]): Promise<void> {
    const { checkpoint } = await this.#store.append(events);
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      this.#retryMs = firstRetryMs;
      this.#options.onAvailability?.(undefined);
    }
    if (checkpoint !== undefined) this.#options.onCheckpoint?.(checkpoint);
  }

  #becomeUnavailable(error: unknown): void {
    const first = this.#failure === undefined;
    this.#failure = error;
    if (!first) return;
    this.#options.onAvailability?.(error);
    // With nothing waiting nobody would find out that the store is back.
    if (this.#waiting.length === 0) this.#probeAfter(this.#retryMs);
  }

  #probeAfter(milliseconds: number): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#failure === undefined || this.#closed) return;
      if (this.#waiting.length > 0) {
        this.#write();
        return;
      }
      this.#append([{ action: 'audit.resumed', outcome: 'done', time: this.#options.clock.now(), actor: 'gateway' }]).catch(() => {
        this.#retryMs = Math.min(this.#retryMs * 2, lastRetryMs);
        this.#probeAfter(this.#retryMs);
      });
    }, milliseconds);
    this.#timer.unref();
  }

  #writeAfter(milliseconds: number): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#write();
    }, milliseconds);
    this.#timer.unref();
  }

  #refuseWhenClosed(): void {
    if (this.#closed) throw new SallyportError('ERR_AUDIT_UNAVAILABLE', 'the audit log is closed');
  }
}

const unavailable = (cause: unknown): SallyportError => new SallyportError('ERR_AUDIT_UNAVAILABLE', 'the audit log cannot be written, so nothing is permitted; see the cause and restore the store', { cause });
