/** Carries validations out, a few at a time, and tries again what fails, RFC 8555 §8.2. */
import type { ChallengeType } from '../ports.ts';
import { AcmeProblem } from '../problem.ts';
import { validateHttp01 } from './http-01.ts';
import { endedBy } from './network.ts';
import type { Validation, ValidationNetwork } from './network.ts';
import { validateTlsAlpn01 } from './tls-alpn-01.ts';

export interface ValidatorOptions {
  readonly network: ValidationNetwork;
  readonly sleep: (ms: number) => Promise<void>;
  /** Before the second attempt, the third, and so on. */
  readonly pausesMs: readonly number[];
}

export const validationDefaults = { timeoutMs: 10_000, pausesMs: [1_000, 3_000] } as const;

const methods: Readonly<Record<ChallengeType, (validation: Validation, network: ValidationNetwork) => Promise<void>>> = { 'http-01': validateHttp01, 'tls-alpn-01': validateTlsAlpn01 };
const atOnce = 16;
const waiting = 256;

export class Validator {
  readonly #options: ValidatorOptions;
  readonly #queue: (() => void)[] = [];
  #running = 0;

  constructor(options: ValidatorOptions) {
    this.#options = options;
  }

  /** Whether another one would be taken. */
  get hasRoom(): boolean {
    return this.#queue.length < waiting;
  }

  /** Undefined when it was proved, else why not. */
  async validate(type: ChallengeType, validation: Validation): Promise<AcmeProblem | undefined> {
    if (this.#running >= atOnce) await new Promise<void>((resolve) => this.#queue.push(resolve));
    else this.#running += 1;
    try {
      return await this.#attempts(type, validation);
    } finally {
      const next = this.#queue.shift();
      // The place is handed on rather than given up and taken again.
      if (next === undefined) this.#running -= 1;
      else next();
    }
  }

  async #attempts(type: ChallengeType, validation: Validation): Promise<AcmeProblem | undefined> {
    const { network, pausesMs, sleep } = this.#options;
    for (let attempt = 0; ; attempt++) {
      try {
        await methods[type](validation, network);
        return undefined;
      } catch (error) {
        const pause = pausesMs[attempt];
        if (pause === undefined || network.closing.aborted) return error instanceof AcmeProblem ? error : new AcmeProblem('serverInternal', 'validation failed for a reason of our own', { cause: error });
        await endedBy(sleep(pause), network.closing).catch(() => undefined);
      }
    }
  }
}
