/** Indexes a CRL without holding the event loop: small ones at once, large ones in a worker thread. */
import { Worker } from 'node:worker_threads';
import { CaError } from '../../ca/errors.ts';
import { indexCrl } from './crl-table.ts';
import type { CrlToIndex, IndexedCrl } from './crl-table.ts';
import type { CrlWorkerAnswer } from './crl-worker.ts';
import { SerialTable } from './serial-table.ts';

/** About a millisecond of work; a worker takes some 40 to start. */
const INLINE_OCTETS = 64 * 1024;
/** Copied per turn of the event loop. */
const COPY_OCTETS = 4 * 1024 * 1024;

/** `octets: 'given'`: the caller needs them no longer. @throws CaError as `indexCrl` */
export const loadCrl = async (job: CrlToIndex, options: { readonly octets: 'given' | 'kept' } = { octets: 'kept' }): Promise<IndexedCrl> => {
  if (job.crl.length <= INLINE_OCTETS) return indexCrl(job);
  const crl = options.octets === 'given' && isWhole(job.crl) ? job.crl : await ownedCopy(job.crl);
  return inWorker({ ...job, crl });
};

const inWorker = (job: CrlToIndex & { readonly crl: Uint8Array<ArrayBuffer> }): Promise<IndexedCrl> =>
  new Promise((resolve, reject) => {
    // Sources run as they are in development and compiled when published.
    const file = new URL(import.meta.url.endsWith('.ts') ? './crl-worker.ts' : './crl-worker.js', import.meta.url);
    const worker = new Worker(file, { workerData: job, transferList: [job.crl.buffer] });
    worker.once('message', (answer: CrlWorkerAnswer) => {
      if (answer.ok) resolve({ head: answer.head, delta: answer.delta, issuerIndex: answer.issuerIndex, table: SerialTable.fromTransferable(answer.table) });
      else reject(answer.code === undefined ? new Error(answer.message) : new CaError(answer.code, answer.message, { facts: answer.facts }));
    });
    worker.once('error', reject);
    worker.once('exit', (code) => { reject(new Error(`the worker that reads the CRL ended with ${code}`)); });
  });

/** The worker takes the buffer; the caller keeps its own. */
const ownedCopy = async (bytes: Uint8Array): Promise<Uint8Array<ArrayBuffer>> => {
  const copy = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at += COPY_OCTETS) {
    copy.set(bytes.subarray(at, at + COPY_OCTETS), at);
    await new Promise((resolve) => { setImmediate(resolve); });
  }
  return copy;
};

/** Only a buffer that nothing else has a view of may be moved. */
const isWhole = (bytes: Uint8Array): bytes is Uint8Array<ArrayBuffer> => bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength;
