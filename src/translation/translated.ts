/**
 * An upstream that speaks both eras, whatever the MCP server behind it speaks: requests of an era it
 * speaks itself go straight through, the others are translated.
 */
import type { Randomness } from '../../ca/ports.ts';
import type { Era } from '../mcp/revisions.ts';
import type { Upstream, UpstreamAnswer, UpstreamRequest } from '../upstream/upstream.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { LegacyFront } from './legacy-front.ts';
import { defaultTranslationLimits } from './limits.ts';
import type { TranslationLimits } from './limits.ts';
import { ModernFront } from './modern-front.ts';

export interface TranslationOptions {
  readonly randomness: Randomness;
  readonly log: UpstreamLog;
  readonly limits?: Partial<TranslationLimits> | undefined;
}

export const translated = (upstream: Upstream, options: TranslationOptions): Upstream => new TranslatedUpstream(upstream, options);

class TranslatedUpstream implements Upstream {
  readonly name: string;
  readonly #upstream: Upstream;
  readonly #modern: ModernFront;
  readonly #legacy: LegacyFront;

  constructor(upstream: Upstream, { randomness, log, limits }: TranslationOptions) {
    this.name = upstream.name;
    this.#upstream = upstream;
    const options = { upstream, randomness, log, limits: { ...defaultTranslationLimits, ...limits } };
    this.#modern = new ModernFront(options);
    this.#legacy = new LegacyFront(options);
  }

  async exchange(request: UpstreamRequest): Promise<UpstreamAnswer> {
    // A session that was begun in translation goes on so, should the MCP server have learned the era meanwhile.
    if (request.session !== undefined && this.#legacy.holds(request.session)) return this.#legacy.exchange(request);
    if (await this.#speaks(request.era)) return this.#upstream.exchange(request);
    return request.era === 'modern' ? this.#modern.exchange(request) : this.#legacy.exchange(request);
  }

  /** A legacy MCP server knows nothing of headers that mirror a body. */
  async headerless(): Promise<boolean> {
    return (await this.#upstream.headerless?.()) === true || !(await this.#upstream.eras()).includes('modern');
  }

  async eras(): Promise<readonly Era[]> {
    return ['legacy', 'modern'];
  }

  async endSession(session: string): Promise<void> {
    if (this.#legacy.holds(session)) {
      this.#legacy.endSession(session);
      return;
    }
    if (await this.#speaks('legacy')) await this.#upstream.endSession(session);
  }

  async endPrincipal(principalId: string): Promise<void> {
    this.#legacy.endPrincipal(principalId);
    await this.#modern.endPrincipal(principalId);
    await this.#upstream.endPrincipal(principalId);
  }

  /** An MCP server that cannot be asked is taken for one of the era that had no such question. */
  async #speaks(era: Era): Promise<boolean> {
    try {
      return (await this.#upstream.eras()).includes(era);
    } catch (error) {
      if (era === 'legacy') return true;
      throw error;
    }
  }

  healthy(): Promise<boolean> {
    return this.#upstream.healthy();
  }

  async close(): Promise<void> {
    this.#legacy.close();
    await this.#modern.close();
    await this.#upstream.close();
  }
}
