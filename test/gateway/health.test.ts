import { describe, expect, it } from 'vitest';
import { healthHandler } from '../../src/gateway/health.ts';

describe('readiness', () => {
  it('is looked at once for everybody who asks meanwhile, and again for the next', async () => {
    let looks = 0;
    const health = healthHandler([{ name: 'upstreams', check: async () => {
      looks += 1;
      await new Promise((resolve) => setTimeout(resolve, 10));
      return undefined;
    } }]);
    const answers = await Promise.all(Array.from({ length: 50 }, () => health('/readyz')));
    expect(answers.every((answer) => answer?.status === 200)).toBe(true);
    expect(looks).toBe(1);
    await health('/readyz');
    expect(looks).toBe(2);
  });

  it('says what is missing with 503, and that a check itself failed', async () => {
    const health = healthHandler([{ name: 'audit', check: async () => 'unavailable' }, { name: 'upstreams', check: () => Promise.reject(new Error('no')) }, { name: 'gateway', check: async () => undefined }]);
    const answer = await health('/readyz');
    expect(answer?.status).toBe(503);
    expect(await answer?.json()).toEqual({ status: 'notReady', checks: { audit: 'unavailable', upstreams: 'failed', gateway: 'ok' } });
  });

  it('is not what /healthz asks for, nor any other path', async () => {
    const health = healthHandler([{ name: 'audit', check: async () => 'unavailable' }]);
    expect((await health('/healthz'))?.status).toBe(200);
    expect(await health('/other')).toBeUndefined();
  });
});
