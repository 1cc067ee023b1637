/** Worker thread: pages of the revoked in, signed CRLs out. A key that is elsewhere signs through the main thread. */
import { parentPort, workerData } from 'node:worker_threads';
import type { KeyObject } from 'node:crypto';
import { CrlBuild } from './crl-build.ts';
import type { BuiltCrl, CrlBuildOptions, GoneEntry } from './crl-build.ts';
import { CodedError } from './errors.ts';
import type { CaErrorCode, ErrorFacts } from './errors.ts';
import { signWith } from './x509/algorithm.ts';

export interface CrlWorkerJob {
  readonly options: CrlBuildOptions;
  readonly key: KeyObject | undefined;
}

export type ToCrlWorker = { readonly kind: 'page'; readonly page: Uint8Array } | { readonly kind: 'end' } | { readonly kind: 'answer'; readonly signature: Uint8Array | undefined };

export type FromCrlWorker =
  | { readonly kind: 'sign'; readonly tbs: Uint8Array }
  | { readonly kind: 'gone'; readonly entries: readonly GoneEntry[] }
  | { readonly kind: 'built'; readonly built: readonly BuiltCrl[] }
  | { readonly kind: 'failed'; readonly code: CaErrorCode | undefined; readonly message: string; readonly facts: ErrorFacts };

const port = parentPort;
if (port !== null) {
  const { options, key } = workerData as CrlWorkerJob;
  let answered: ((signature: Uint8Array | undefined) => void) | undefined;
  const ask = (question: FromCrlWorker): Promise<Uint8Array | undefined> => {
    port.postMessage(question, []);
    return new Promise((resolve) => { answered = resolve; });
  };
  const sign = async (tbs: Uint8Array): Promise<Uint8Array> => {
    if (key !== undefined) return signWith(key, tbs);
    const signature = await ask({ kind: 'sign', tbs });
    if (signature === undefined) throw new Error('the CRL was not signed');
    return signature;
  };
  const failed = (error: unknown): void => {
    const coded = error instanceof CodedError ? error : undefined;
    const message = error instanceof Error ? error.message : 'the CRL could not be built';
    port.postMessage({ kind: 'failed', code: coded?.code as CaErrorCode | undefined, message, facts: coded?.facts ?? {} } satisfies FromCrlWorker, []);
    port.close();
  };
  const finish = async (build: CrlBuild): Promise<void> => {
    const built = await build.finish({
      gone: async (entries) => {
        if (entries.length > 0) await ask({ kind: 'gone', entries });
      },
      sign,
      shared: true,
    });
    port.postMessage({ kind: 'built', built } satisfies FromCrlWorker, []);
    port.close();
  };
  try {
    const build = new CrlBuild(options);
    port.on('message', (message: ToCrlWorker) => {
      try {
        if (message.kind === 'page') build.add(message.page);
        else if (message.kind === 'end') finish(build).catch(failed);
        else answered?.(message.signature);
      } catch (error) {
        failed(error);
      }
    });
  } catch (error) {
    failed(error);
  }
}
