import { expect, it } from 'vitest';
import type { SallyportError } from '../../src/errors.ts';
import { startCallDeadline } from '../../src/gateway/call-deadline.ts';

it('a call that runs for too long is ended, one that is over is not', async () => {
  const ended: SallyportError[] = [];
  startCallDeadline(10, () => expect.unreachable())();
  await new Promise<void>((resolve) => {
    startCallDeadline(20, (reason) => {
      ended.push(reason);
      resolve();
    });
    // The deadline alone keeps no process alive.
    setTimeout(resolve, 5_000).unref();
    setImmediate(() => undefined);
  });
  expect(ended).toMatchObject([{ code: 'ERR_UPSTREAM_TIMEOUT', facts: { callTimeoutMs: 20 } }]);
});
