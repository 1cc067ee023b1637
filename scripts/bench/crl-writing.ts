/** A CRL of 100,000 and of 1,000,000, written and signed, against `openssl ca -gencrl` where OpenSSL is installed. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CrlEntryBuffer } from '../../ca/x509/crl.ts';
import type { CrlEntry } from '../../ca/x509/crl.ts';
import { createTestPki } from '../../test/support/pki.ts';
import type { TestPki } from '../../test/support/pki.ts';
import { findProgram } from './programs.ts';
import { median } from './measure.ts';
import type { BenchRow } from './measure.ts';

const execute = promisify(execFile);

export const run = async (): Promise<readonly BenchRow[]> => {
  const pki = createTestPki();
  const rows: BenchRow[] = [];
  for (const count of [100_000, 1_000_000]) {
    const revokedAt = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000);
    const entries = Array.from({ length: count }, (): CrlEntry => ({ serial: `01${randomBytes(18).toString('hex')}`, revokedAt, reason: 'superseded' }));
    const times = Array.from({ length: 5 }, () => write(pki, entries));
    const openssl = await writeWithOpenssl(pki, entries);
    rows.push({
      name: `${count.toLocaleString('en')} entries, written and signed from memory`, value: median(times), unit: 'ms',
      ...(openssl === undefined ? {} : { reference: { name: 'openssl ca -gencrl', value: openssl } }),
    });
  }
  return rows;
};

const write = (pki: TestPki, entries: readonly CrlEntry[]): number => {
  const started = performance.now();
  const buffer = new CrlEntryBuffer({ expectedEntries: entries.length });
  for (const entry of entries) buffer.add(entry);
  pki.issuing.crl({ entries: buffer });
  return performance.now() - started;
};

/** Milliseconds; undefined when there is no openssl. */
const writeWithOpenssl = async (pki: TestPki, entries: readonly CrlEntry[]): Promise<number | undefined> => {
  const openssl = findProgram('openssl');
  if (openssl === undefined) return undefined;
  const directory = await mkdtemp(join(tmpdir(), 'sallyport-bench-'));
  try {
    const time = (date: Date): string => `${date.toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`;
    const until = time(new Date(Date.now() + 86_400_000));
    const lines = entries.map(({ serial, revokedAt, reason }) => `R\t${until}\t${time(revokedAt)},${reason}\t${String(serial).toUpperCase()}\tunknown\t/CN=agent`);
    await writeFile(join(directory, 'index.txt'), `${lines.join('\n')}\n`);
    await writeFile(join(directory, 'index.txt.attr'), 'unique_subject = no\n');
    await writeFile(join(directory, 'crlnumber'), '01\n');
    await writeFile(join(directory, 'ca.pem'), pki.issuing.certPem);
    await writeFile(join(directory, 'key.pem'), pki.issuing.keyPem, { mode: 0o600 });
    await writeFile(join(directory, 'ca.cnf'), `[ca]
default_ca = bench
[bench]
database = ${directory}/index.txt
crlnumber = ${directory}/crlnumber
certificate = ${directory}/ca.pem
private_key = ${directory}/key.pem
default_md = sha256
default_crl_days = 1
crl_extensions = ext
[ext]
authorityKeyIdentifier = keyid:always
`);
    const started = performance.now();
    await execute(openssl, ['ca', '-config', join(directory, 'ca.cnf'), '-gencrl', '-out', join(directory, 'out.crl')], { timeout: 60_000 });
    return performance.now() - started;
  } finally {
    await rm(directory, { recursive: true });
  }
};
