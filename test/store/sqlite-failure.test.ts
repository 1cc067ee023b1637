import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open-store.ts';
import { anEvent, anIntent, issue, later, noon } from '../support/records.ts';

const clock = { now: () => noon };
let directory = '';
let path = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'sallyport-failure-'));
  path = join(directory, 'store.db');
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

/** Runs store-writer.ts in a process of its own and gives what it printed. */
const writer = (prefix: readonly string[], options: object = {}): Promise<string> => {
  const script = fileURLToPath(new URL('../support/store-writer.ts', import.meta.url));
  const [command = process.execPath, ...rest] = [...prefix, process.execPath, script, path];
  return new Promise((resolve, reject) => {
    execFile(command, rest, { timeout: 15_000, ...options }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${error.message}\n${stderr}`));
    });
  });
};

describe('SQLite in trouble', () => {
  it('says so when the file is not a database, and leaves it alone', async () => {
    writeFileSync(path, 'not a database '.repeat(100));
    await expect(openStore(`sqlite:${path}`, { clock })).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      message: `the store ${path} cannot be used: it is not a Sallyport database, or it is damaged; restore it from a backup or name another file`,
    });
    expect(statSync(path).size).toBe(1_500);
  });

  it('says so when the file is damaged', async () => {
    const store = await openStore(`sqlite:${path}`, { clock });
    await issue(store.ca);
    await store.close();
    const size = statSync(path).size;
    writeFileSync(path, Buffer.alloc(size - 4_096, 0xff), { flag: 'r+' });
    await expect(openStore(`sqlite:${path}`, { clock })).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
  });

  it('says so when the directory does not exist or the path is a directory', async () => {
    await expect(openStore(`sqlite:${join(directory, 'nowhere', 'x.db')}`, { clock })).rejects.toMatchObject({
      code: 'ERR_STORE_UNAVAILABLE',
      message: expect.stringContaining('check that the directory exists') as string,
    });
    await expect(openStore(`sqlite:${directory}`, { clock })).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
    await expect(openStore('mysql://x', { clock })).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
  });

  it('waits for another process that writes', async () => {
    const store = await openStore(`sqlite:${path}`, { clock });
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const write = store.ca.recordEvent(anEvent());
    const reading = await store.audit.size();
    other.exec('COMMIT');
    await write;
    expect([reading, await store.audit.size()]).toEqual([0, 1]);
    other.close();
    await store.close();
  });

  it('gives up after five seconds of another process holding it, and works again afterwards', async () => {
    const store = await openStore(`sqlite:${path}`, { clock });
    const other = new DatabaseSync(path);
    other.exec('BEGIN IMMEDIATE');
    const failed = await Promise.allSettled([store.ca.recordEvent(anEvent()), store.ca.recordIntent(anIntent())]);
    expect(failed.map((result) => (result.status === 'rejected' ? String((result.reason as Error).message) : 'done'))).toEqual(
      Array.from({ length: 2 }, () => `the store ${path} cannot be used: another process has kept it locked for five seconds; find and end that process, or try again`),
    );
    other.exec('ROLLBACK');
    await store.ca.recordEvent(anEvent());
    expect(await store.audit.size()).toBe(1);
    other.close();
    await store.close();
  });

  it('writes nothing by halves on a full disk, keeps what was acknowledged, and goes on when there is room', async () => {
    await (await openStore(`sqlite:${path}`, { clock })).close();
    // A limit on file size fails the same writes as a full disk; Node leaves SIGXFSZ ignored, so the write reports it.
    const said = await writer(['/bin/sh', '-c', 'trap "" XFSZ; ulimit -f 400; exec "$@"', 'sh']);
    const acknowledged = said.split('\n').filter((line) => line.startsWith('done '));
    const refused = said.split('\n').find((line) => line.startsWith('failed '));
    expect(acknowledged.length).toBeGreaterThan(3);
    expect(refused).toMatch(/^failed ERR_STORE_UNAVAILABLE the store .* cannot be used: (the disk is full; free some space and try again|the disk failed to read or write; check the disk and its free space)$/);
    const store = await openStore(`sqlite:${path}`, { clock });
    const serials = new Set((await store.ca.findCertificates({ states: ['issued'] })).map(({ serial }) => serial));
    expect(acknowledged.every((line) => serials.has(line.slice('done '.length)))).toBe(true);
    expect(await store.audit.size()).toBe(serials.size);
    await issue(store.ca);
    await store.close();
  });

  it('opens a file that it may not write for reading only', async ({ skip }) => {
    const before = await openStore(`sqlite:${path}`, { clock });
    await issue(before.ca);
    await before.close();
    const root = process.getuid?.() === 0;
    chmodSync(path, 0o444);
    chmodSync(directory, 0o555);
    // Root may write anything, so there somebody else tries.
    const said = await writer([], root ? { uid: 65_534, gid: 65_534 } : {}).catch((error: unknown) => {
      if (root && String(error).includes('EACCES')) skip('run as root from a folder that nobody else may enter');
      throw error;
    });
    expect(said).toMatch(/^failed ERR_STORE_UNAVAILABLE the store .* cannot be used: it (is read-only|cannot be opened)/);
    chmodSync(directory, 0o755);
    chmodSync(path, 0o600);
    const store = await openStore(`sqlite:${path}`, { clock });
    expect(await store.ca.countCertificates({})).toBe(1);
    await store.close();
  });

  it('keeps the database and its companions to their owner', async () => {
    const store = await openStore(`sqlite:${path}`, { clock });
    await issue(store.ca);
    for (const suffix of ['', '-wal', '-shm']) expect(statSync(`${path}${suffix}`).mode & 0o777).toBe(0o600);
    await store.close();
  });

  it('reads a large number of revoked serials while the event loop stays free', async () => {
    const store = await openStore(`sqlite:${path}`, { clock });
    const database = new DatabaseSync(path);
    const revoked = 100_000;
    database.exec(`INSERT INTO certificate SELECT '${'a1'.repeat(32)}', lower(hex(randomblob(19))), 'revoked', x'3000', NULL, NULL, 'agent', 'agent', 's', 'c', '[]', NULL, '[]', 'b2',
      0, ${later(0).getTime()}, 0, NULL, 5, 'keyCompromise', NULL, NULL FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${revoked}) SELECT i FROM n)`);
    database.close();
    let last = performance.now();
    const stalls: number[] = [];
    const timer = setInterval(() => {
      stalls.push(performance.now() - last);
      last = performance.now();
    }, 1);
    let read = 0;
    for await (const page of store.ca.revokedSerials('a1'.repeat(32))) read += page.length;
    clearInterval(timer);
    expect(read).toBe(revoked);
    // Generous for a busy machine: what matters is that no page is turned in one piece.
    expect(stalls.toSorted((a, b) => a - b)[Math.floor(stalls.length * 0.9)]).toBeLessThan(10);
    await store.close();
  });
});
