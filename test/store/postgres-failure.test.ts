import { describe, expect, it } from 'vitest';
import { openStore } from '../../src/store/open-store.ts';
import { noon } from '../support/records.ts';

const clock = { now: () => noon };

describe('PostgreSQL in trouble', () => {
  it('says where it cannot be reached, and never the password', async () => {
    const error: unknown = await openStore('postgres://someone:s3cret@127.0.0.1:1/ca', { clock }).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ code: 'ERR_STORE_UNAVAILABLE', message: expect.stringContaining('the store at 127.0.0.1:1/ca cannot be used: it cannot be reached') as string });
    expect(JSON.stringify(error) + String(error)).not.toContain('s3cret');
  });

  it('says how a store address is written when it is not one', async () => {
    await expect(openStore('postgres:// nowhere', { clock })).rejects.toMatchObject({ code: 'ERR_STORE_UNAVAILABLE' });
  });
});
