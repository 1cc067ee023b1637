/** Builds CRLs without holding the event loop: small ones at once, large ones in a worker thread. */
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { CrlBuild } from './crl-build.ts';
import type { BuiltCrl, CrlBuildOptions, CrlPlan, CrlWorld } from './crl-build.ts';
import { movable } from './crl-moving.ts';
import type { CrlWorkerJob, FromCrlWorker, ToCrlWorker } from './crl-worker.ts';
import { CaError } from './errors.ts';
import { keyInProcess } from './key-store.ts';
import type { Signer } from './ports.ts';

/** Some 7,000 entries, and 5 ms of work; a thread takes some 50 to start. */
const inlineOctets = 512 * 1024;

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
        thread = new CrlThread(await ownedBy({ options, key: keyInProcess(signer) }));
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

interface OwnedJob {
  readonly job: CrlWorkerJob;
  /** Moved to the thread. */
  readonly buffers: readonly ArrayBuffer[];
}

/** Copied per turn of the event loop. */
const copyOctets = 4 * 1024 * 1024;

/** The lists before, copied in pieces: whoever gave them keeps them, and a large one at once would hold the event loop. */
const ownedBy = async ({ options, key }: CrlWorkerJob): Promise<OwnedJob> => {
  const buffers: ArrayBuffer[] = [];
  const owned = async (bytes: Uint8Array | undefined): Promise<Uint8Array | undefined> => {
    if (bytes === undefined) return undefined;
    const copy = new Uint8Array(bytes.length);
    for (let at = 0; at < bytes.length; at += copyOctets) {
      copy.set(bytes.subarray(at, at + copyOctets), at);
      await turn();
    }
    buffers.push(copy.buffer);
    return copy;
  };
  const plans: CrlPlan[] = [];
  for (const plan of options.plans) {
    const delta = plan.delta === undefined ? undefined : { ...plan.delta, base: await owned(plan.delta.base), previous: await owned(plan.delta.previous) };
    plans.push({ ...plan, previous: await owned(plan.previous), delta });
  }
  return { job: { options: { ...options, plans }, key }, buffers };
};

class CrlThread {
  readonly #worker: Worker;
  readonly #built: Promise<readonly BuiltCrl[]>;
  #world: CrlWorld | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor({ job, buffers }: OwnedJob) {
    // Sources run as they are in development and compiled when published.
    const file = new URL(import.meta.url.endsWith('.ts') ? './crl-worker.ts' : './crl-worker.js', import.meta.url);
    this.#worker = new Worker(file, { workerData: job, transferList: [...buffers], execArgv: [], name: 'sallyport-crl' });
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
