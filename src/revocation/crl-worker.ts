/** Worker thread: one CRL in, its table out, buffers moved both ways. */
import { parentPort, workerData } from 'node:worker_threads';
import { CodedError } from '../../ca/errors.ts';
import type { CaErrorCode, ErrorFacts } from '../../ca/errors.ts';
import type { CrlHead } from '../../ca/x509/crl.ts';
import { indexCrl } from './crl-table.ts';
import type { CrlToIndex } from './crl-table.ts';
import type { TransferableTable } from './serial-table.ts';

export type CrlWorkerAnswer =
  | { readonly ok: true; readonly head: CrlHead; readonly delta: CrlHead | undefined; readonly issuerIndex: number; readonly table: TransferableTable }
  | { readonly ok: false; readonly code: CaErrorCode | undefined; readonly message: string; readonly facts: ErrorFacts };

if (parentPort !== null) {
  try {
    const { table, ...rest } = indexCrl(workerData as CrlToIndex);
    const { table: plain, buffers } = table.toTransferable();
    parentPort.postMessage({ ok: true, ...rest, table: plain } satisfies CrlWorkerAnswer, buffers);
  } catch (error) {
    const coded = error instanceof CodedError ? error : undefined;
    const message = error instanceof Error ? error.message : 'the CRL could not be read';
    parentPort.postMessage({ ok: false, code: coded?.code as CaErrorCode | undefined, message, facts: coded?.facts ?? {} } satisfies CrlWorkerAnswer, []);
  }
}
