/** Whether an upstream can be reached, as its requests and checks find: one log line when it is lost, one when it is back. */
import type { SallyportError } from '../errors.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface ReachabilityOptions {
  readonly upstream: string;
  readonly log: UpstreamLog;
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number;
}

export class Reachability {
  readonly #options: ReachabilityOptions;
  #failures = 0;
  #failingSince = 0;
  #lost = false;
  #lastSuccess: number | undefined;

  constructor(options: ReachabilityOptions) {
    this.#options = options;
  }

  /** Milliseconds since it was last reached; infinite when it never was. */
  get sinceSuccess(): number {
    return this.#lastSuccess === undefined ? Number.POSITIVE_INFINITY : this.#options.monotonicMs() - this.#lastSuccess;
  }

  succeeded(): void {
    const now = this.#options.monotonicMs();
    this.#lastSuccess = now;
    if (this.#failures === 0) return;
    const facts = { upstream: this.#options.upstream, failures: this.#failures, millis: Math.round(now - this.#failingSince) };
    this.#failures = 0;
    if (!this.#lost) return;
    this.#lost = false;
    this.#options.log.info(facts, 'upstream can be reached again');
  }

  /** `connected`: the connection stood first. Once, that is the misfortune of one request; twice in a row, the upstream is lost. */
  failed(error: SallyportError, { connected }: { readonly connected: boolean }): void {
    if (this.#failures === 0) this.#failingSince = this.#options.monotonicMs();
    this.#failures += 1;
    if (this.#lost || (connected && this.#failures < 2)) return;
    this.#lost = true;
    this.#options.log.warn({ upstream: this.#options.upstream, error }, 'upstream cannot be reached');
  }
}
