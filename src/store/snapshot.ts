/** Every row of every table, whatever tables there are, as of one moment: what a backup is made of. */
import { sql } from 'kysely';
import type { Kysely } from 'kysely';
import { CaError } from '../../ca/errors.ts';
import type { Database, StoreKind } from './database.ts';
import { schemaVersion } from './migrations.ts';
import type { Schema } from './schema.ts';

export type ColumnType = 'integer' | 'text' | 'bytes';

export interface TableShape {
  readonly name: string;
  readonly columns: readonly { readonly name: string; readonly type: ColumnType }[];
  /** Columns of the primary key, in its order. */
  readonly key: readonly string[];
}

export type Cell = string | number | null | Uint8Array;

export interface StoreSnapshot {
  readonly kind: StoreKind;
  readonly schemaVersion: number;
  /** The head of the audit log comes before its checkpoints, and these before its entries, so that a reader can check them on the way. */
  readonly tables: readonly TableShape[];
  /** In the order of the primary key, in pages. */
  rows(table: TableShape): AsyncIterable<readonly (readonly Cell[])[]>;
}

/** `node` says which gateways live now; `schema_migration` is made by the migrations themselves. */
const leftOut: ReadonlySet<string> = new Set(['node', 'schema_migration']);
const first = ['audit_head', 'audit_checkpoint', 'audit_entry'];

export const snapshotOf = async <T>(database: Database, work: (of: StoreSnapshot) => Promise<T>): Promise<T> =>
  database.snapshot(async (read) => {
    const explained = async <R>(query: () => Promise<R>): Promise<R> => {
      try {
        return await query();
      } catch (error) {
        throw database.explain(error).error;
      }
    };
    const all = await explained(() => tableShapes(read, database.kind));
    const rank = ({ name }: TableShape): number => (first.includes(name) ? first.indexOf(name) : first.length);
    const tables = all.filter(({ name }) => !leftOut.has(name)).toSorted((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
    return work({ kind: database.kind, schemaVersion, tables, rows: (table) => pagesOf((query) => explained(() => query(read)), table) });
  });

/** What the database has, whoever made it: a table that a later version adds is in the backup without a word here. */
export const tableShapes = async (db: Kysely<Schema>, kind: StoreKind): Promise<readonly TableShape[]> => {
  const { rows } =
    kind === 'sqlite'
      ? await sql<ColumnRow>`
          SELECT t.name AS table_name, c.name AS column_name, c.type AS data_type, c.pk AS key_position
          FROM sqlite_schema t, pragma_table_info(t.name) c
          WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid`.execute(db)
      : await sql<ColumnRow>`
          SELECT c.table_name, c.column_name, c.data_type, COALESCE(k.ordinal_position, 0)::int AS key_position
          FROM information_schema.columns c
          JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name AND t.table_type = 'BASE TABLE'
          LEFT JOIN information_schema.table_constraints p ON p.table_schema = c.table_schema AND p.table_name = c.table_name AND p.constraint_type = 'PRIMARY KEY'
          LEFT JOIN information_schema.key_column_usage k ON k.constraint_schema = p.constraint_schema AND k.constraint_name = p.constraint_name AND k.table_name = c.table_name AND k.column_name = c.column_name
          WHERE c.table_schema = current_schema() ORDER BY c.table_name, c.ordinal_position`.execute(db);
  const byTable = Map.groupBy(rows, (row) => row.table_name);
  return [...byTable].map(([name, columns]) => ({
    name,
    columns: columns.map((column) => ({ name: column.column_name, type: typeOf(column) })),
    key: columns.filter(({ key_position: position }) => position > 0).toSorted((a, b) => a.key_position - b.key_position).map((column) => column.column_name),
  }));
};

interface ColumnRow {
  readonly table_name: string;
  readonly column_name: string;
  readonly data_type: string;
  /** From 1; 0 for what is not part of the key. */
  readonly key_position: number;
}

const columnTypes: Readonly<Record<string, ColumnType>> = { INTEGER: 'integer', bigint: 'integer', integer: 'integer', TEXT: 'text', text: 'text', BLOB: 'bytes', bytea: 'bytes' };

const typeOf = ({ table_name: table, column_name: column, data_type: given }: ColumnRow): ColumnType => {
  const type = columnTypes[given];
  if (type === undefined) throw new CaError('ERR_STORE_SCHEMA', `the column ${table}.${column} has the type ${given}, which is none of ours; use a database that holds nothing but the store`, { facts: { table, column } });
  return type;
};

const rowsInPage = 500;
/** Tables that are neither certificates nor audit entries may hold a whole CRL in a row. */
const heavyRowsInPage = 4;

async function* pagesOf(reading: <R>(query: (db: Kysely<Schema>) => Promise<R>) => Promise<R>, table: TableShape): AsyncGenerator<readonly (readonly Cell[])[]> {
  const { name, columns, key } = table;
  if (key.length === 0) throw new CaError('ERR_STORE_SCHEMA', `the table ${name} has no primary key and is none of ours; use a database that holds nothing but the store`, { facts: { table: name } });
  const heavy = columns.some(({ type }) => type === 'bytes') && name !== 'certificate' && name !== 'audit_entry';
  const limit = heavy ? heavyRowsInPage : rowsInPage;
  const ordered = sql.join(key.map((column) => sql.ref(column)));
  const selected = sql.join(columns.map((column) => sql.ref(column.name)));
  let after: readonly Cell[] | undefined;
  for (;;) {
    const from = after;
    const beyond = from === undefined ? sql`` : sql`WHERE (${ordered}) > (${sql.join(from)})`;
    const { rows } = await reading((db) => sql<Readonly<Record<string, Cell>>>`SELECT ${selected} FROM ${sql.table(name)} ${beyond} ORDER BY ${ordered} LIMIT ${limit}`.execute(db));
    if (rows.length > 0) yield rows.map((row) => columns.map((column) => row[column.name] ?? null));
    const last = rows.at(-1);
    if (last === undefined || rows.length < limit) return;
    after = key.map((column) => last[column] ?? null);
  }
}
