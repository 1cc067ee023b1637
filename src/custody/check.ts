/** Looks at everything in a backup as it goes by, so that one that verifies is one that works when it is needed. */
import { hash } from 'node:crypto';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import { parseCrl } from '../../ca/x509/crl.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { verifyLog } from '../audit/verify.ts';
import type { StoredEntry } from '../audit/entry.ts';
import type { Verification } from '../audit/verify.ts';
import { configFileName, parseConfig } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { Channel } from './channel.ts';
import type { BackupEvent } from './contents.ts';
import type { Manifest, Row, TableShape } from './records.ts';

export interface BackupFinding {
  /** A file, or a table with what names the row. */
  readonly where: string;
  readonly message: string;
}

export interface BackupCheck {
  readonly manifest: Manifest;
  readonly files: number;
  /** Rows by table. */
  readonly tables: Readonly<Record<string, number>>;
  /** The first hundred. */
  readonly findings: readonly BackupFinding[];
}

const mostFindings = 100;
/** Files whose content is looked at are small. */
const largestChecked = 4 * 1024 * 1024;
/** Without these nothing starts. */
const needed = [configFileName, 'audit.vkey', 'keys/audit.key.pem'];

/** Hands on what it has looked at; `result` is there once all of it went by. */
export class BackupChecker {
  readonly #findings: BackupFinding[] = [];
  readonly #tables: Record<string, number> = {};
  readonly #checkpoints: string[] = [];
  readonly #paths = new Set<string>();
  #manifest: Manifest | undefined;
  #file: { readonly path: string; readonly parts: Uint8Array[]; size: number } | undefined;
  #verifierKey = '';
  /** Parts of one CRL follow each other. */
  readonly #crl = { numbers: new Map<string, string>(), name: '', parts: [] as Uint8Array[] };
  #log: { readonly entries: Channel<readonly StoredEntry[]>; readonly verdict: Promise<Verification> } | undefined;

  async *through(events: AsyncIterable<BackupEvent>): AsyncGenerator<BackupEvent> {
    try {
      for await (const event of events) {
        await this.#look(event);
        yield event;
      }
      for (const path of needed) if (!this.#paths.has(path)) this.#find(path, 'is not in the backup');
      if (!('audit_entry' in this.#tables && 'certificate' in this.#tables)) this.#find('store', 'has no certificates and no audit log');
    } finally {
      this.#log?.entries.end();
    }
  }

  get result(): BackupCheck {
    if (this.#manifest === undefined) throw new SallyportError('ERR_INTERNAL', 'the backup has not been read');
    return { manifest: this.#manifest, files: this.#paths.size, tables: this.#tables, findings: this.#findings };
  }

  async #look(event: BackupEvent): Promise<void> {
    switch (event.kind) {
      case 'manifest':
        this.#manifest = event.manifest;
        return;
      case 'file':
        this.#file = { path: event.path, parts: [], size: 0 };
        return;
      case 'part':
        if (this.#file === undefined) return;
        this.#file.size += event.octets.length;
        if (this.#file.size <= largestChecked) this.#file.parts.push(event.octets);
        return;
      case 'fileEnd':
        this.#lookAtFile();
        return;
      case 'rows':
        await this.#lookAtRows(event.table, event.rows);
        return;
      case 'tableEnd':
        this.#tables[event.table.name] = event.rows;
        if (event.table.name === 'audit_entry') await this.#finishLog();
        if (event.table.name === 'crl_part') this.#finishCrl();
        return;
      case 'directory':
      case 'table':
        return;
      default:
        event satisfies never;
    }
  }

  #lookAtFile(): void {
    if (this.#file === undefined) return;
    const { path, parts, size } = this.#file;
    this.#file = undefined;
    if (this.#paths.has(path)) this.#find(path, 'is there twice');
    this.#paths.add(path);
    if (size > largestChecked) return;
    const octets = Buffer.concat(parts);
    this.#attempt(path, () => {
      if (path === configFileName) parseConfig(octets.toString('utf8'), { directory: '/', file: configFileName });
      else if (path === 'audit.vkey') this.#verifierKey = octets.toString('utf8').trim();
      else if (path.startsWith('certs/') && path.endsWith('.cert.pem')) for (const { der } of decodePem(octets.toString('latin1'), 'CERTIFICATE')) parseCertificate(der);
      else if (path.startsWith('keys/') && path.endsWith('.key.pem')) decodePem(octets.toString('latin1'));
    });
  }

  async #lookAtRows(table: TableShape, rows: readonly Row[]): Promise<void> {
    const column = (name: string): number => table.columns.findIndex((each) => each.name === name);
    switch (table.name) {
      case 'certificate': {
        const [serialAt, derAt, thumbprintAt, unitsAt, namesAt] = [column('serial'), column('der'), column('thumbprint'), column('organizational_units'), column('dns_names')];
        for (const row of rows) {
          this.#attempt(`certificate ${String(row[serialAt])}`, () => {
            textListOf(row[unitsAt]);
            textListOf(row[namesAt]);
            const der = row[derAt];
            if (der instanceof Uint8Array) checkCertificate(der, { serial: row[serialAt], thumbprint: row[thumbprintAt] });
          });
        }
        return;
      }
      case 'crl':
        // Since CRLs have parts their octets come in the next table; before, they were in the row.
        for (const row of rows) {
          const [number, der] = [String(row[column('crl_number')]), row[column('der')]];
          if (der instanceof Uint8Array) this.#lookAtCrl(der, number);
          else this.#crl.numbers.set(scopeOf(row, column), number);
        }
        return;
      case 'crl_part':
        for (const row of rows) {
          const name = scopeOf(row, column);
          if (name !== this.#crl.name) this.#finishCrl();
          this.#crl.name = name;
          this.#crl.parts.push(octetsOf(row[column('content')]));
        }
        return;
      case 'audit_head':
      case 'audit_checkpoint':
        for (const row of rows) {
          const note = row[column('note')];
          if (typeof note === 'string') this.#checkpoints.push(note);
        }
        return;
      case 'audit_entry':
        await this.#lookAtEntries(rows.map((row): StoredEntry => ({ index: Number(row[column('position')]), event: String(row[column('event')]), leafHash: octetsOf(row[column('leaf_hash')]) })));
        return;
      default:
        // Its cells have the types of their columns, which is all that is known of it here.
        return;
    }
  }

  #finishCrl(): void {
    const { name, parts, numbers } = this.#crl;
    if (parts.length === 0) return;
    this.#crl.parts = [];
    this.#lookAtCrl(parts.length === 1 ? (parts[0] ?? new Uint8Array()) : Uint8Array.from(Buffer.concat(parts)), numbers.get(name));
  }

  /** What stands beside the current one, a delta or its base, has a number of its own. */
  #lookAtCrl(der: Uint8Array, number: string | undefined): void {
    this.#attempt(`CRL ${number ?? 'beside the current one'}`, () => {
      const { crlNumber } = parseCrl(der);
      if (number !== undefined && String(crlNumber) !== number) throw new TypeError('is not the one of its number');
    });
  }

  async #lookAtEntries(entries: readonly StoredEntry[]): Promise<void> {
    if (this.#log === undefined) {
      const channel = new Channel<readonly StoredEntry[]>();
      this.#log = { entries: channel, verdict: verifyLog(singly(channel), { checkpoints: this.#checkpoints, verifierKey: this.#verifierKey }) };
      this.#log.verdict.catch(() => undefined);
    }
    await this.#log.entries.put(entries);
  }

  async #finishLog(): Promise<void> {
    this.#log?.entries.end();
    const verification = await this.#log?.verdict;
    for (const { message } of verification?.findings ?? []) this.#find('audit log', message);
  }

  #attempt(where: string, look: () => void): void {
    try {
      look();
    } catch (error) {
      this.#find(where, error instanceof Error ? error.message : String(error));
    }
  }

  #find(where: string, message: string): void {
    if (this.#findings.length < mostFindings) this.#findings.push({ where, message });
  }
}

/** Reads to the end. */
export const checkBackup = async (events: AsyncIterable<BackupEvent>): Promise<BackupCheck> => {
  const checker = new BackupChecker();
  for await (const _ of checker.through(events)) void _;
  return checker.result;
};

async function* singly(pages: AsyncIterable<readonly StoredEntry[]>): AsyncGenerator<StoredEntry> {
  for await (const page of pages) yield* page;
}

const checkCertificate = (der: Uint8Array, row: { readonly serial: unknown; readonly thumbprint: unknown }): void => {
  const certificate = parseCertificate(der);
  if (certificate.serial !== row.serial) throw new TypeError(`is the certificate of serial ${certificate.serial}`);
  if (row.thumbprint !== null && hash('sha256', der, 'hex') !== row.thumbprint) throw new TypeError('does not have the thumbprint it is stored under');
};

const textListOf = (cell: unknown): void => {
  const value: unknown = JSON.parse(String(cell));
  if (!Array.isArray(value) || !value.every((each) => typeof each === 'string')) throw new TypeError('holds a list that is no list of texts');
};

/** What names the octets of a CRL, in either table. */
const scopeOf = (row: Row, column: (name: string) => number): string => ['issuer_id', 'partitions', 'partition', 'octets'].map((name) => String(row[column(name)])).join(' ');

const octetsOf = (cell: unknown): Uint8Array => (cell instanceof Uint8Array ? cell : new Uint8Array());
