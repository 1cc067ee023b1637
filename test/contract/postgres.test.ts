import { afterAll, describe, it } from 'vitest';
import { testPostgres } from '../support/postgres.ts';
import { acmeStoreContract } from './acme-store.contract.ts';
import { certificatesContract } from './certificates.contract.ts';
import { revocationContract } from './revocation.contract.ts';
import { storeContract } from './store.contract.ts';
import type { StoreUnderTest } from './store-under-test.ts';
import { toolStoreContract } from './tool-store.contract.ts';

const postgres = await testPostgres();

if ('skipped' in postgres) {
  console.warn(`store contract on PostgreSQL skipped: ${postgres.skipped}`);
  describe.skip(`store contract on PostgreSQL (${postgres.skipped})`, () => {
    it('needs a PostgreSQL that starts on this machine', () => undefined);
  });
} else {
  afterAll(() => postgres.close());
  const underTest: StoreUnderTest = {
    createUrl: () => postgres.createSchema(),
    execute: (url, sql) => postgres.execute(sql, url),
    refuseEntriesWith: (url, text) =>
      postgres.execute(
        `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused by a test'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT ON audit_entry FOR EACH ROW WHEN (NEW.event LIKE '%${text}%') EXECUTE FUNCTION refuse()`,
        url,
      ),
  };
  certificatesContract('PostgreSQL', underTest);
  revocationContract('PostgreSQL', underTest);
  storeContract('PostgreSQL', underTest);
  toolStoreContract('PostgreSQL', underTest);
  acmeStoreContract('PostgreSQL', underTest);
}
