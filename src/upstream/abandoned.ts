import { SallyportError } from '../errors.ts';

/** Why a request was given up: the reason its owner gave, when it is one of ours. */
export const abandonedError = (signal: AbortSignal): SallyportError =>
  signal.reason instanceof SallyportError
    ? signal.reason
    : new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the request was given up before the upstream answered it', { cause: signal.reason });
