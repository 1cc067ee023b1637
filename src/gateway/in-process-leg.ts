/** An MCP server in this process: requests of an era it speaks go to its handler as they are, the others translated. */
import type { Upstream } from '../upstream/upstream.ts';
import type { Asking, Exchange, Leg } from './exchange.ts';
import type { Session } from './sessions.ts';

export interface InProcessLegOptions {
  /** Which eras the handler speaks. */
  readonly handler: Pick<Upstream, 'eras'>;
  readonly native: Pick<Leg, 'upstream' | 'carry' | 'endSession'>;
  readonly translated: Leg;
}

export class InProcessLeg implements Leg {
  readonly #options: InProcessLegOptions;

  constructor(options: InProcessLegOptions) {
    this.#options = options;
  }

  get upstream(): string {
    return this.#options.native.upstream;
  }

  headerless(): Promise<boolean> {
    return this.#options.translated.headerless();
  }

  ask(asking: Asking, method: string, params: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>> {
    return this.#options.translated.ask(asking, method, params);
  }

  async carry(exchange: Exchange): Promise<void> {
    await (await this.#legFor(exchange.era)).carry(exchange);
  }

  async endSession(session: Session): Promise<void> {
    await (await this.#legFor('legacy')).endSession(session);
  }

  async endPrincipal(principalId: string): Promise<void> {
    await this.#options.translated.endPrincipal(principalId);
  }

  async #legFor(era: Exchange['era']): Promise<Pick<Leg, 'carry' | 'endSession'>> {
    const { handler, native, translated } = this.#options;
    try {
      return (await handler.eras()).includes(era) ? native : translated;
    } catch (error) {
      // One that cannot be asked is taken for one of the era that had no such question.
      if (era === 'legacy') return native;
      throw error;
    }
  }
}
