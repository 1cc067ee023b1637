/** What a backup holds, in order, as its parts come: the grammar of the lines, and nothing about their meaning. */
import type { FileHandle } from 'node:fs/promises';
import { openContainer } from './container.ts';
import { linesOf, malformed, rowOf } from './records.ts';
import type { BackupLine, Manifest, Row, TableShape } from './records.ts';

export type BackupEvent =
  | { readonly kind: 'manifest'; readonly manifest: Manifest }
  | { readonly kind: 'directory'; readonly path: string; readonly mode: number }
  | { readonly kind: 'file'; readonly path: string; readonly mode: number }
  | { readonly kind: 'part'; readonly octets: Uint8Array }
  | { readonly kind: 'fileEnd' }
  | { readonly kind: 'table'; readonly table: TableShape }
  | { readonly kind: 'rows'; readonly table: TableShape; readonly rows: readonly Row[] }
  | { readonly kind: 'tableEnd'; readonly table: TableShape; readonly rows: number };

const rowsTogether = 256;
/** Octets of rows kept together: a row may be a CRL of many megabytes. */
const octetsTogether = 1024 * 1024;

/** Ends only after the end that the writer wrote. @throws SallyportError `ERR_BACKUP_*` */
export async function* readBackup(file: FileHandle, options: { readonly passphrase: string }): AsyncGenerator<BackupEvent> {
  const reader = new Reader();
  for await (const line of linesOf(openContainer(file, options))) yield* reader.next(line);
  reader.finish();
}

type Place = 'start' | 'between' | 'file' | 'table' | 'end';

class Reader {
  #place: Place = 'start';
  #table: TableShape | undefined;
  #rows: Row[] = [];
  #rowOctets = 0;
  /** Of the present file or table. */
  #count = 0;
  #files = 0;
  #tables = 0;

  *next(line: BackupLine): Generator<BackupEvent> {
    if ('row' in line) yield* this.#row(line.row);
    else if ('part' in line) {
      this.#expect('file');
      const octets = new Uint8Array(Buffer.from(line.part, 'base64'));
      this.#count += octets.length;
      yield { kind: 'part', octets };
    } else if ('manifest' in line) {
      this.#expect('start');
      this.#place = 'between';
      yield { kind: 'manifest', manifest: line.manifest };
    } else if ('directory' in line) {
      this.#expect('between');
      yield { kind: 'directory', ...line.directory };
    } else if ('file' in line) {
      this.#expect('between');
      this.#begin('file');
      this.#files += 1;
      // Keys are there before the store is: what is wrong with them is found before any work is done.
      if (this.#tables > 0) throw malformed('a file follows a table');
      yield { kind: 'file', ...line.file };
    } else if ('fileEnd' in line) {
      this.#expect('file');
      this.#end(line.fileEnd.size);
      yield { kind: 'fileEnd' };
    } else if ('table' in line) {
      this.#expect('between');
      this.#begin('table');
      this.#tables += 1;
      this.#table = line.table;
      yield { kind: 'table', table: line.table };
    } else if ('tableEnd' in line) {
      this.#expect('table');
      yield* this.#flush();
      this.#end(line.tableEnd.rows);
      if (this.#table !== undefined) yield { kind: 'tableEnd', table: this.#table, rows: line.tableEnd.rows };
    } else {
      this.#expect('between');
      if (line.end.files !== this.#files || line.end.tables !== this.#tables) throw malformed('its parts are not as many as its end says');
      this.#place = 'end';
    }
  }

  finish(): void {
    this.#expect('end');
  }

  *#row(cells: readonly unknown[]): Generator<BackupEvent> {
    this.#expect('table');
    if (this.#table === undefined) return;
    const row = rowOf(cells, this.#table);
    this.#rows.push(row);
    this.#count += 1;
    for (const cell of row) if (cell instanceof Uint8Array) this.#rowOctets += cell.length;
    if (this.#rows.length >= rowsTogether || this.#rowOctets > octetsTogether) yield* this.#flush();
  }

  *#flush(): Generator<BackupEvent> {
    if (this.#table !== undefined && this.#rows.length > 0) yield { kind: 'rows', table: this.#table, rows: this.#rows };
    this.#rows = [];
    this.#rowOctets = 0;
  }

  #begin(place: 'file' | 'table'): void {
    this.#place = place;
    this.#count = 0;
  }

  #end(said: number): void {
    if (said !== this.#count) throw malformed(`a ${this.#place} is not as long as its end says`);
    this.#place = 'between';
  }

  #expect(place: Place): void {
    if (this.#place !== place) throw malformed('its parts are not in order');
  }
}
