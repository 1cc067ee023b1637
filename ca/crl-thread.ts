/** Builds CRLs without holding the event loop: small ones at once, large ones in a worker thread. */
import { Worker } from 'node:worker_threads';
import { CrlBuild } from './crl-build.ts';
import type { BuiltCrl, CrlBuildOptions, CrlWorld } from './crl-build.ts';
import { movable } from './crl-moving.ts';
import type { CrlWorkerJob, FromCrlWorker, ToCrlWorker } from './crl-worker.ts';
import { CaError } from './errors.ts';
import { keyInProcess } from './key-store.ts';
import type { Signer } from './ports.ts';

/** Some 7,000 entries, and 5 ms of work; a thread takes some 50 to start. */
const inlineOctets = 512 * 1024;

/** The octets of the plans are given away: a thread takes them over without a copy. */
export interface CrlBuilding extends CrlBuildOptions {
  readonly signer: Signer;
  /** As `CaStore.revokedText`. */
  readonly pages: AsyncIterable<Uint8Array>;
  readonly gone: CrlWorld['gone'];
}

export const buildCrls = async ({ signer, pages, gone, ...options }: CrlBuilding): Promise<readonly BuiltCrl[]> => {
  const sign = (tbs: Uint8Array): Promise<Uint8Array> => signer.sign(tbs);
  const held: Uint8Array[] = [];
  let length = options.plans.reduce((sum, { previous, delta }) => sum + (previous?.length ?? 0) + (delta?.base?.length ?? 0), 0);
  let thread: CrlThread | undefined;
  try {
    for await (const page of pages) {
      length += page.length;
      if (thread === undefined && length > inlineOctets) {
        thread = new CrlThread({ options, key: keyInProcess(signer) });
        for (const each of held.splice(0)) thread.add(each);
      }
      if (thread === undefined) held.push(page);
      else thread.add(page);
      thread?.check();
    }
    if (thread !== undefined) return await thread.finish({ gone, sign });
  } catch (error) {
    await thread?.end();
    throw error;
  }
  const build = new CrlBuild(options);
  for (const page of held) build.add(page);
  return build.finish({ gone, sign });
};

/** The lists before, which nobody else has a use for. */
const listsOf = ({ plans }: CrlBuildOptions): readonly ArrayBuffer[] => [
  ...new Set(plans.flatMap(({ previous, delta }) => [previous, delta?.base, delta?.previous]).flatMap((list) => (list === undefined ? [] : movable(list)))),
];

class CrlThread {
  readonly #worker: Worker;
  readonly #built: Promise<readonly BuiltCrl[]>;
  #world: CrlWorld | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(job: CrlWorkerJob) {
    // Sources run as they are in development and compiled when published.
    const file = new URL(import.meta.url.endsWith('.ts') ? './crl-worker.ts' : './crl-worker.js', import.meta.url);
    this.#worker = new Worker(file, { workerData: job, transferList: [...listsOf(job.options)], execArgv: [], name: 'sallyport-crl' });
    this.#built = new Promise((resolve, reject) => {
      this.#worker.on('message', (message: FromCrlWorker) => {
        if (message.kind === 'built') resolve(message.built);
        else if (message.kind === 'failed') reject(message.code === undefined ? new Error(message.message) : new CaError(message.code, message.message, { facts: message.facts }));
        else this.#answer(message).catch(reject);
      });
      this.#worker.once('error', reject);
      this.#worker.once('exit', (code) => { reject(new Error(`the thread that builds the CRL ended with ${code}`)); });
    });
    this.#built.catch((error: unknown) => { this.#failure = { error }; });
  }

  add(page: Uint8Array): void {
    this.#worker.postMessage({ kind: 'page', page } satisfies ToCrlWorker, [...movable(page)]);
  }

  /** Throws when it has failed already. */
  check(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  finish(world: CrlWorld): Promise<readonly BuiltCrl[]> {
    this.#world = world;
    this.#worker.postMessage({ kind: 'end' } satisfies ToCrlWorker, []);
    return this.#built;
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  async #answer(question: Extract<FromCrlWorker, { kind: 'sign' | 'gone' }>): Promise<void> {
    let signature: Uint8Array | undefined;
    if (question.kind === 'gone') await this.#world?.gone(question.entries);
    else signature = await this.#world?.sign(question.tbs);
    this.#worker.postMessage({ kind: 'answer', signature } satisfies ToCrlWorker, []);
  }
}
