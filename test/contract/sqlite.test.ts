import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll } from 'vitest';
import { acmeStoreContract } from './acme-store.contract.ts';
import { certificatesContract } from './certificates.contract.ts';
import { revocationContract } from './revocation.contract.ts';
import { storeContract } from './store.contract.ts';
import type { StoreUnderTest } from './store-under-test.ts';
import { toolStoreContract } from './tool-store.contract.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-store-'));
let databases = 0;

const execute = async (url: string, sql: string): Promise<void> => {
  const database = new DatabaseSync(url.slice('sqlite:'.length), { timeout: 5_000 });
  database.exec(sql);
  database.close();
  await Promise.resolve();
};

afterAll(() => {
  rmSync(directory, { recursive: true, force: true });
});

const sqlite: StoreUnderTest = {
  createUrl: async () => {
    databases += 1;
    await Promise.resolve();
    return `sqlite:${join(directory, `${databases}.db`)}`;
  },
  execute,
  refuseEntriesWith: (url, text) =>
    execute(url, `CREATE TRIGGER refuse BEFORE INSERT ON audit_entry WHEN NEW.event LIKE '%${text}%' BEGIN SELECT RAISE(ABORT, 'refused by a test'); END`),
};

certificatesContract('SQLite', sqlite);
revocationContract('SQLite', sqlite);
storeContract('SQLite', sqlite);
toolStoreContract('SQLite', sqlite);
acmeStoreContract('SQLite', sqlite);
