/** How the gateway takes us, across everything that talks to it, and what was said about it already. */
import { SallyportError } from '../errors.ts';
import type { NoticeSink } from './notice.ts';

/** How the last contact went. */
export type ContactState = 'none' | 'accepted' | 'refused' | 'unreachable';

export class GatewayContact {
  readonly #notice: NoticeSink;
  #state: ContactState = 'none';
  #everAccepted = false;
  #lastComplaint: string | undefined;
  #wake = Promise.withResolvers<void>();

  constructor(notice: NoticeSink) {
    this.#notice = notice;
  }

  get state(): ContactState {
    return this.#state;
  }

  get everAccepted(): boolean {
    return this.#everAccepted;
  }

  accepted(): void {
    this.#everAccepted = true;
    this.#lastComplaint = undefined;
    const wasRefused = this.#state === 'refused';
    this.#state = 'accepted';
    if (wasRefused) this.wake();
  }

  /** Says each trouble once until something works again. */
  complain(error: SallyportError): void {
    if (isRefusal(error)) this.#state = 'refused';
    else if (error.code.startsWith('ERR_BRIDGE_')) this.#state = 'unreachable';
    if (this.#lastComplaint === error.message) return;
    this.#lastComplaint = error.message;
    this.#notice({ level: 'error', message: error.message, facts: { code: error.code, ...error.facts } });
  }

  /** The identity changed or the gateway answered: what was refused may be tried again. */
  wake(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers<void>();
  }

  /** Resolves at the next `wake`. */
  woken(): Promise<void> {
    return this.#wake.promise;
  }
}

/** Whether it is the identity that was refused, which asking again does not change. */
export const isRefusal = (error: SallyportError): boolean => error.code === 'ERR_BRIDGE_REFUSED' || error.code === 'ERR_BRIDGE_IDENTITY';
