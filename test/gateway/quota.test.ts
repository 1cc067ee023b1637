import { describe, expect, it } from 'vitest';
import { Quota } from '../../src/gateway/quota.ts';

describe('a quota', () => {
  it('gives out as many places to each principal as are configured, and takes each back once', () => {
    const quota = new Quota({ streamsPerPrincipal: 1, requestsPerPrincipal: 2 });
    const give = quota.takeRequest('a');
    quota.takeRequest('a');
    expect(() => quota.takeRequest('a')).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_REQUESTS' }));
    quota.takeRequest('b');
    give();
    give();
    quota.takeRequest('a');
    expect(() => quota.takeRequest('a')).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_REQUESTS' }));
    quota.takeStream('a');
    expect(() => quota.takeStream('a')).toThrow(expect.objectContaining({ code: 'ERR_LIMIT_STREAMS' }));
  });

  it('is busy while any request is in flight', () => {
    const quota = new Quota({ streamsPerPrincipal: 1, requestsPerPrincipal: 1 });
    quota.takeStream('a');
    expect(quota.busy).toBe(false);
    const give = quota.takeRequest('a');
    expect(quota.busy).toBe(true);
    give();
    expect(quota.busy).toBe(false);
  });
});
