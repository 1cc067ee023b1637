import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { systemClock, systemRandomness } from '../../src/system.ts';
import { limitedInvocation } from '../../src/upstream/resource-limits.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { call, initialize, jsonOf, post, recordingLog } from '../support/upstream-requests.ts';

const invocation = { file: '/bin/server', args: ['--data=1', '--'], verbatim: false };
const linux = { platform: 'linux' as const, exists: (file: string) => file === '/usr/bin/prlimit' };

const open: Upstream[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((upstream) => upstream.close()));
});

describe('the resource limits of a child', () => {
  it('are set by prlimit, which becomes the command, without a shell', () => {
    const limited = limitedInvocation('tools', { memoryBytes: 1_000, cpuSeconds: 5, openFiles: 64, processes: 10 }, linux);
    expect(limited(invocation)).toEqual({ file: '/usr/bin/prlimit', args: ['--data=1000:1000', '--cpu=5:6', '--nofile=64:64', '--nproc=10:10', '--', '/bin/server', '--data=1', '--'], verbatim: false });
  });

  it('leave the command alone when there are none', () => {
    expect(limitedInvocation('tools', {}, { platform: 'darwin', exists: () => false })(invocation)).toEqual(invocation);
  });

  it.each([['darwin', true], ['win32', true], ['linux', false]] as const)('are refused where they cannot be enforced: on %s, prlimit there: %s', (platform, there) => {
    expect(() => limitedInvocation('tools', { openFiles: 64 }, { platform, exists: () => there })).toThrow(
      expect.objectContaining({ code: 'ERR_CONFIG_INVALID', message: 'the limits of upstream tools need Linux with /usr/bin/prlimit (util-linux): install it, or take limits out and bound the process by other means' }) as Error,
    );
  });

  it.runIf(existsSync('/usr/bin/prlimit'))('hold for the running server', async () => {
    const upstream = createStdioUpstream({
      name: 'tools', command: process.execPath, args: [fileURLToPath(new URL('../support/stdio-fixtures/scripted-server.ts', import.meta.url))],
      clock: systemClock, randomness: systemRandomness, log: recordingLog(), resourceLimits: { openFiles: 100, cpuSeconds: 60, memoryBytes: 1_073_741_824 },
    });
    open.push(upstream);
    const session = (await upstream.exchange(initialize())).session ?? '';
    const { limits } = jsonOf(await upstream.exchange(post(call(1, 'limits'), { session }))).result;
    expect(limits).toMatch(/Max cpu time +60 +61 /u);
    expect(limits).toMatch(/Max data size +1073741824 +1073741824 /u);
    expect(limits).toMatch(/Max open files +100 +100 /u);
  });
});
