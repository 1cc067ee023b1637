/**
 * The log as JSON Lines that verify without the store: a header with the checkpoints, then one line
 * an entry. Every line is plain JSON, so it can be searched and loaded anywhere.
 */
import { allEntries, sizeAt } from './audit-store.ts';
import type { AuditStore } from './audit-store.ts';
import { canonicalJson } from './entry.ts';
import type { StoredEntry } from './entry.ts';
import { verifyLog } from './verify.ts';
import type { Finding, Verification } from './verify.ts';
import { SallyportError } from '../errors.ts';

const format = 'sallyport-audit-log/1';

interface ExportHeader {
  readonly format: typeof format;
  readonly origin: string;
  readonly verifierKey: string;
  readonly size: number;
  readonly checkpoints: readonly string[];
}

/** Lines without their line feed. What is appended while it runs is left out. */
export async function* exportLog(store: AuditStore, options: { readonly origin: string; readonly verifierKey: string }): AsyncGenerator<string> {
  const checkpoints = await store.checkpoints();
  const size = await sizeAt(store, checkpoints);
  yield canonicalJson({ format, origin: options.origin, verifierKey: options.verifierKey, size, checkpoints } satisfies ExportHeader);
  // The event is canonical JSON already; it goes into its line octet for octet.
  for await (const entry of allEntries(store, { size })) yield `{"event":${entry.event},"index":${entry.index},"leafHash":"${Buffer.from(entry.leafHash).toString('hex')}"}`;
}

export interface ExportVerification extends Verification {
  readonly origin: string;
  readonly verifierKey: string;
  /** False when the key came from the export itself: then only its consistency is proved, not where it came from. */
  readonly keyTrusted: boolean;
}

/** Verifies an export against the key that the verifier knows; without one against the key in the header. */
export const verifyExport = async (lines: AsyncIterable<string> | Iterable<string>, verifierKey?: string): Promise<ExportVerification> => {
  const rest = iterate(lines);
  const first = await rest.next();
  const header = first.done === true ? undefined : readHeader(first.value);
  if (header === undefined) throw new SallyportError('ERR_AUDIT_TAMPERED', 'this is not an export of the audit log: the first line is not its header; export it again with `sallyport audit export`');
  const malformed: Finding[] = [];
  const verification = await verifyLog(readEntries(rest, malformed), { checkpoints: header.checkpoints, verifierKey: verifierKey ?? header.verifierKey });
  const findings = [...malformed, ...verification.findings];
  return { ...verification, ok: findings.length === 0, findings, origin: header.origin, verifierKey: verifierKey ?? header.verifierKey, keyTrusted: verifierKey !== undefined };
};

async function* readEntries(lines: AsyncIterable<string>, malformed: Finding[]): AsyncGenerator<StoredEntry> {
  let index = 0;
  for await (const line of lines) {
    if (line === '') continue;
    const entry = readEntry(line);
    if (entry === undefined) malformed.push({ kind: 'changed', index, message: `line ${index + 2} is not an entry of the audit log` });
    else yield entry;
    index += 1;
  }
}

const readEntry = (line: string): StoredEntry | undefined => {
  const value = parseObject(line);
  if (value === undefined || typeof value['index'] !== 'number' || typeof value['leafHash'] !== 'string' || !/^[0-9a-f]{64}$/.test(value['leafHash'])) return undefined;
  return { index: value['index'], event: canonicalJson(value['event'] ?? null), leafHash: new Uint8Array(Buffer.from(value['leafHash'], 'hex')) };
};

const readHeader = (line: string): ExportHeader | undefined => {
  const value = parseObject(line);
  if (value?.['format'] !== format || typeof value['origin'] !== 'string' || typeof value['verifierKey'] !== 'string' || typeof value['size'] !== 'number') return undefined;
  const checkpoints: unknown = value['checkpoints'];
  if (!Array.isArray(checkpoints) || !checkpoints.every((note) => typeof note === 'string')) return undefined;
  return { format, origin: value['origin'], verifierKey: value['verifierKey'], size: value['size'], checkpoints };
};

const parseObject = (line: string): Record<string, unknown> | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
};

async function* iterate(lines: AsyncIterable<string> | Iterable<string>): AsyncGenerator<string, undefined> {
  yield* lines;
  return undefined;
}
