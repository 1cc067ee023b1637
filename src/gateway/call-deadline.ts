import { SallyportError } from '../errors.ts';

/**
 * Ends a call that runs for too long, however much it reports meanwhile. Not for streams that are
 * meant to stay open: GET and `subscriptions/listen`.
 * @returns what takes the deadline away
 */
export const startCallDeadline = (callTimeoutMs: number, abort: (reason: SallyportError) => void): (() => void) => {
  const timer = setTimeout(() => {
    abort(new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the call ran longer than any may: raise gateway.limits.callTimeoutMs if it needs longer', { facts: { callTimeoutMs } }));
  }, callTimeoutMs);
  timer.unref();
  return () => clearTimeout(timer);
};
