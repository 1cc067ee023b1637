import type { ErrorFacts } from '../../ca/errors.ts';

/** Something the person at the machine should read; goes to standard error. */
export interface Notice {
  readonly level: 'info' | 'warn' | 'error';
  readonly message: string;
  readonly facts?: ErrorFacts;
}

export type NoticeSink = (notice: Notice) => void;
