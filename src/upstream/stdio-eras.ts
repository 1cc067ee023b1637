/**
 * Finds out which eras an MCP server on stdio speaks by asking children that serve nothing else
 * (revision 2026-07-28, stdio, backward compatibility). A server may end on a request it does not
 * know before `initialize`, so the answer must not cost anybody's session.
 */
import { SallyportError } from '../errors.ts';
import { isObject } from '../mcp/read-messages.ts';
import { isModern } from '../mcp/revisions.ts';
import type { Era } from '../mcp/revisions.ts';
import { discoverId, discoverLine, initializeId, initializeLine } from './stdio-asking.ts';
import type { ChildLauncher } from './stdio-launcher.ts';
import { startKey } from './stdio-restarts.ts';
import type { Restarts } from './stdio-restarts.ts';
import type { StdioChild } from './stdio-process.ts';
import type { UpstreamLog } from './upstream-log.ts';

export interface EraProbeOptions {
  readonly upstream: string;
  readonly launcher: ChildLauncher;
  readonly restarts: Restarts;
  readonly limits: { readonly eraProbeMs: number; readonly eraStartMs: number };
  readonly log: UpstreamLog;
}

/**
 * @throws SallyportError `ERR_UPSTREAM_UNREACHABLE`, `ERR_UPSTREAM_EXITED`, `ERR_UPSTREAM_TIMEOUT`
 */
export const probeEras = async (options: EraProbeOptions): Promise<readonly Era[]> => {
  const { limits, restarts, upstream } = options;
  restarts.check(startKey, { upstream });
  const first = await ProbedChild.start(options, 'expected');
  try {
    first.send(discoverLine());
    const discovered = await first.answer([discoverId], limits.eraProbeMs);
    if (discovered.kind === 'answer') {
      if (!saysModern(discovered.value)) return settled(options, ['legacy']);
      const legacy = await first.speaksLegacy(options);
      return settled(options, legacy ?? (await asksAgain(options)) ? ['legacy', 'modern'] : ['modern']);
    }
    if (discovered.kind === 'silence') {
      // Either it ignores what it does not know, or it has not started yet: whatever it answers first tells.
      first.send(initializeLine());
      const late = await first.answer([discoverId, initializeId], limits.eraStartMs);
      if (late.kind === 'answer') {
        if (late.value['id'] === discoverId && saysModern(late.value)) {
          const initialized = await first.answer([initializeId], limits.eraProbeMs);
          return settled(options, initialized.kind === 'answer' && isResult(initialized.value) ? ['legacy', 'modern'] : ['modern']);
        }
        return settled(options, ['legacy']);
      }
      if (late.kind === 'silence') {
        throw new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the upstream answers neither server/discover nor initialize: see what it wrote to stderr in the log, or name its era in sallyport.yaml', { facts: { upstream } });
      }
    }
  } finally {
    await first.end();
  }
  // It ended: because it was asked before initialize, or because it cannot start.
  const second = await ProbedChild.start(options, 'news');
  try {
    second.send(initializeLine());
    const initialized = await second.answer([initializeId], limits.eraStartMs);
    if (initialized.kind === 'answer') return settled(options, ['legacy']);
    if (initialized.kind === 'exit') {
      restarts.died(startKey, initialized.startedAt);
      throw initialized.error;
    }
    throw new SallyportError('ERR_UPSTREAM_TIMEOUT', 'the upstream does not answer initialize: see what it wrote to stderr in the log, or name its era in sallyport.yaml', { facts: { upstream } });
  } finally {
    await second.end();
  }
};

const settled = ({ upstream, restarts, log }: EraProbeOptions, eras: readonly Era[]): readonly Era[] => {
  restarts.recovered(startKey);
  log.info({ upstream, eras }, 'upstream eras found');
  return eras;
};

/** A modern server that did not answer `initialize` after `server/discover` may still do so when it comes first. */
const asksAgain = async (options: EraProbeOptions): Promise<boolean> => {
  const child = await ProbedChild.start(options, 'expected');
  try {
    return (await child.speaksLegacy(options)) ?? false;
  } finally {
    await child.end();
  }
};

type Fields = Readonly<Record<string, unknown>>;

type Outcome =
  | { readonly kind: 'answer'; readonly value: Fields }
  | { readonly kind: 'silence' }
  | { readonly kind: 'exit'; readonly error: SallyportError; readonly startedAt: number };

class ProbedChild {
  #child: StdioChild | undefined;
  #ending = false;
  #answers: Fields[] = [];
  #exit: Extract<Outcome, { readonly kind: 'exit' }> | undefined;
  #look: (() => void) | undefined;

  /** `exit`: what it means for the log when the child ends by itself. */
  static async start({ launcher }: EraProbeOptions, exit: 'expected' | 'news'): Promise<ProbedChild> {
    const probed = new ProbedChild();
    probed.#child = await launcher.launch({
      next: 'ask again',
      ending: () => exit === 'expected' || probed.#ending,
      onLine: (line) => probed.#read(line),
      onExit: (error, startedAt) => {
        probed.#exit = { kind: 'exit', error, startedAt };
        probed.#look?.();
      },
    });
    return probed;
  }

  send(line: string): void {
    // A child that takes no more is about to exit, and that is its answer.
    this.#child?.write(line).catch(() => undefined);
  }

  /** The first of these responses, or why there is none. */
  async answer(ids: readonly string[], waitMs: number): Promise<Outcome> {
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    this.#look = () => {
      const value = this.#answers.find(({ id }) => typeof id === 'string' && ids.includes(id));
      if (value !== undefined) resolve({ kind: 'answer', value });
      else if (this.#exit !== undefined) resolve(this.#exit);
    };
    this.#look();
    const timer = setTimeout(() => resolve({ kind: 'silence' }), waitMs);
    return promise.finally(() => clearTimeout(timer));
  }

  /** Undefined: it says neither yes nor that it never will. */
  async speaksLegacy({ limits }: EraProbeOptions): Promise<boolean | undefined> {
    this.send(initializeLine());
    const initialized = await this.answer([initializeId], limits.eraProbeMs);
    if (initialized.kind !== 'answer') return undefined;
    if (isResult(initialized.value)) return true;
    return errorCode(initialized.value) === unsupportedRevision ? false : undefined;
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#child?.end();
  }

  #read(line: string): void {
    try {
      const value: unknown = JSON.parse(line);
      if (!isObject(value) || !(Object.hasOwn(value, 'result') || Object.hasOwn(value, 'error'))) return;
      const { id } = value;
      if ((id !== discoverId && id !== initializeId) || this.#answers.some((answer) => answer['id'] === id)) return;
      this.#answers.push(value);
      this.#look?.();
    } catch {
      // Not JSON: banners and the like say nothing about the era.
    }
  }
}

/** A list of revisions that holds a modern one we know. */
const saysModern = ({ result }: Fields): boolean => {
  const versions = isObject(result) ? result['supportedVersions'] : undefined;
  return Array.isArray(versions) && versions.some((version) => typeof version === 'string' && isModern(version));
};

/** What a server of the modern era only answers `initialize` with. */
const unsupportedRevision = -32022;

const errorCode = ({ error }: Fields): unknown => (isObject(error) ? error['code'] : undefined);

const isResult = ({ result }: Fields): boolean => isObject(result) && typeof result['protocolVersion'] === 'string' && !isModern(result['protocolVersion']);
