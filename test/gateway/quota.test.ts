import { describe, expect, it } from 'vitest';
import { Quota } from '../../src/gateway/quota.ts';
import type { QuotaLimits } from '../../src/gateway/quota.ts';

const quotaOf = (limits: Partial<QuotaLimits>): Quota => new Quota({ streamsPerPrincipal: 1, requestsPerPrincipal: 1, subscriptionsPerPrincipal: 1, subscribedResourcesPerPrincipal: 1, ...limits });
const code = (expected: string) => expect.objectContaining({ code: expected });

describe('a quota', () => {
  it('gives out as many places to each principal as are configured, and takes each back once', () => {
    const quota = quotaOf({ requestsPerPrincipal: 2 });
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
    const quota = quotaOf({});
    quota.takeStream('a');
    expect(quota.busy).toBe(false);
    const give = quota.takeRequest('a');
    expect(quota.busy).toBe(true);
    give();
    expect(quota.busy).toBe(false);
  });

  it('counts subscription streams, and the resources of all of them together', () => {
    const quota = quotaOf({ subscriptionsPerPrincipal: 2, subscribedResourcesPerPrincipal: 3 });
    const give = quota.takeSubscription('a', ['file:///1', 'file:///2']);
    expect(() => quota.takeSubscription('a', ['file:///3', 'file:///4'])).toThrow(code('ERR_LIMIT_SUBSCRIPTIONS'));
    // What was refused holds nothing.
    quota.takeSubscription('a', ['file:///3']);
    expect(() => quota.takeSubscription('a', [])).toThrow(code('ERR_LIMIT_SUBSCRIPTIONS'));
    expect(() => quota.takeResources('a')).toThrow(code('ERR_LIMIT_SUBSCRIPTIONS'));
    quota.takeSubscription('b', ['file:///1', 'file:///2', 'file:///3']);
    give();
    give();
    quota.takeResources('a', 2);
    expect(() => quota.takeResources('a')).toThrow(code('ERR_LIMIT_SUBSCRIPTIONS'));
    quota.takeSubscription('a', []);
  });

  it('gives the resources of a stream back that could not be opened', () => {
    const quota = quotaOf({ subscribedResourcesPerPrincipal: 1 });
    quota.takeSubscription('a', []);
    expect(() => quota.takeSubscription('a', ['file:///1'])).toThrow(code('ERR_LIMIT_SUBSCRIPTIONS'));
    quota.takeResources('a');
  });
});
