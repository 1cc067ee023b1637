/** The places that the calls of one POST hold under the limits of a role. */
import type { RequestId } from '../mcp/message.ts';
import { settle } from './sessions.ts';
import type { Session } from './sessions.ts';

export class CallPlaces {
  readonly #give: () => void;
  #kept = false;

  /** @param give gives all the places back */
  constructor(give: () => void) {
    this.#give = give;
  }

  /** The POST is over, and with it its calls, unless they are kept. */
  give(): void {
    if (!this.#kept) this.#give();
  }

  /**
   * A legacy client went away, which ends no call: the places stay taken until the last of the requests is known to be
   * over, or would have been given up for want of an answer. Else leaving would be a way around the limit.
   */
  keep(session: Session, ids: Iterable<RequestId>, forMs: number): void {
    const running = new Set([...ids].filter((id) => session.inFlight.get(id)?.method === 'tools/call'));
    if (running.size === 0) return;
    this.#kept = true;
    const timer = setTimeout(this.#give, forMs);
    timer.unref();
    for (const id of running) {
      const inFlight = session.inFlight.get(id);
      if (inFlight === undefined) continue;
      inFlight.onCancelled = () => settle(session, id);
      inFlight.onSettled = () => {
        running.delete(id);
        if (running.size > 0) return;
        clearTimeout(timer);
        this.#give();
      };
    }
  }
}
