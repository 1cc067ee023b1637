/** What a backup holds, as lines of JSON: a manifest, files, tables row by row, and an end that counts them. */
import { StringDecoder } from 'node:string_decoder';
import { z } from 'zod';
import { SallyportError } from '../errors.ts';

export type Cell = string | number | null | Uint8Array;
export type Row = readonly Cell[];

const sealedPath = z.string().max(1_024).refine((path) => isInside(path), 'must lead to a place inside the data directory');
const count = z.int().min(0);

const manifest = z.strictObject({
  createdAt: z.iso.datetime(),
  /** Version of Sallyport. */
  madeBy: z.string(),
  /** Version of the store's schema. */
  schema: z.int().min(1),
  storeKind: z.enum(['sqlite', 'postgres']),
  trustDomain: z.string(),
});
const tableShape = z.strictObject({
  name: z.string().regex(/^[a-z_]{1,63}$/),
  columns: z.array(z.strictObject({ name: z.string().regex(/^[a-z0-9_]{1,63}$/), type: z.enum(['integer', 'text', 'bytes']) })).min(1),
  /** Columns of the primary key, in its order. */
  key: z.array(z.string()).min(1),
});

const records = z.union([
  z.strictObject({ manifest }),
  z.strictObject({ directory: z.strictObject({ path: sealedPath, mode: z.int().min(0).max(0o777) }) }),
  z.strictObject({ file: z.strictObject({ path: sealedPath, mode: z.int().min(0).max(0o777) }) }),
  z.strictObject({ fileEnd: z.strictObject({ size: count }) }),
  z.strictObject({ table: tableShape }),
  z.strictObject({ tableEnd: z.strictObject({ rows: count }) }),
  z.strictObject({ end: z.strictObject({ files: count, tables: count }) }),
]);

export type BackupRecord = z.output<typeof records>;
export type Manifest = z.output<typeof manifest>;
export type TableShape = z.output<typeof tableShape>;
export type Column = TableShape['columns'][number];

/** A row of a table, the base64 of a part of a file, or something that begins or ends. */
export type BackupLine = { readonly row: readonly unknown[] } | { readonly part: string } | BackupRecord;

export const lineOfRecord = (record: BackupRecord): string => `${JSON.stringify(record)}\n`;

export const lineOfPart = (octets: Uint8Array): string => `"${Buffer.from(octets).toString('base64')}"\n`;

/** Octets are an object, which nothing else in a row is. */
export const lineOfRow = (row: Row): string => `${JSON.stringify(row.map((cell) => (cell instanceof Uint8Array ? { b: Buffer.from(cell.buffer, cell.byteOffset, cell.byteLength).toString('base64') } : cell)))}\n`;

/** A CRL of a million entries is one line of 50 MB. */
const longestLine = 256 * 1024 * 1024;

export async function* linesOf(octets: AsyncIterable<Buffer>): AsyncGenerator<BackupLine> {
  const decoder = new StringDecoder('utf8');
  let parts: string[] = [];
  let length = 0;
  for await (const some of octets) {
    const texts = decoder.write(some).split('\n');
    for (const [index, text] of texts.entries()) {
      parts.push(text);
      length += text.length;
      if (length > longestLine) throw malformed('one of its lines is too long');
      if (index === texts.length - 1) continue;
      yield parseLine(parts.length === 1 ? text : parts.join(''));
      parts = [];
      length = 0;
    }
  }
  if (length > 0) throw malformed('its last line has no end');
}

export const rowOf = (cells: readonly unknown[], { name, columns }: TableShape): Row => {
  if (cells.length !== columns.length) throw malformed(`a row of ${name} has ${cells.length} cells for ${columns.length} columns`);
  return columns.map((column, index) => cellOf(cells[index], column, name));
};

const cellOf = (value: unknown, { name, type }: Column, table: string): Cell => {
  if (value === null) return null;
  if (type === 'text' && typeof value === 'string') return value;
  if (type === 'integer' && Number.isSafeInteger(value)) return value as number;
  if (type === 'bytes' && typeof value === 'object' && 'b' in value && typeof value.b === 'string') return new Uint8Array(Buffer.from(value.b, 'base64'));
  throw malformed(`${table}.${name} holds something that is not ${type}`);
};

const parseLine = (text: string): BackupLine => {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw malformed('one of its lines is not JSON', cause);
  }
  if (Array.isArray(value)) return { row: value };
  if (typeof value === 'string') return { part: value };
  const parsed = records.safeParse(value);
  if (!parsed.success) throw malformed('one of its records is none that this Sallyport knows', parsed.error);
  return parsed.data;
};

/** Relative, with slashes, and never up. */
export const isInside = (path: string): boolean => path !== '' && !path.includes('\\') && !path.includes('\0') && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');

/** What authenticates and is not what we write: made by another Sallyport, or by a defect of ours. */
export const malformed = (how: string, cause?: unknown): SallyportError => new SallyportError('ERR_BACKUP_INVALID', `the backup cannot be read (${how}); use the Sallyport that made it, or a newer one`, { cause });
