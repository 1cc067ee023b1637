import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { systemRandomness } from '../../src/system.ts';
import { createStdioUpstream } from '../../src/upstream/stdio.ts';
import type { StdioUpstreamOptions } from '../../src/upstream/stdio.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { v1StdioCommand } from '../support/mcp-servers/v1-stdio.ts';
import { v2StdioCommand } from '../support/mcp-servers/v2-stdio.ts';
import { initialize, isRunning, jsonOf, modern, post, principalNamed, recordingLog } from '../support/upstream-requests.ts';

const fixture = (name: string, ...args: readonly string[]): Partial<StdioUpstreamOptions> => ({ args: [fileURLToPath(new URL(`../support/stdio-fixtures/${name}.ts`, import.meta.url)), ...args] });

const open: Upstream[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((upstream) => upstream.close()));
});

const start = (options: Partial<StdioUpstreamOptions>): { upstream: Upstream; log: ReturnType<typeof recordingLog>; clock: { offsetMs: number; now(): Date } } => {
  const log = recordingLog();
  const clock = { offsetMs: 0, now: () => new Date(1_800_000_000_000 + clock.offsetMs) };
  const upstream = createStdioUpstream({ name: 'tools', command: process.execPath, clock, randomness: systemRandomness, log, ...options });
  open.push(upstream);
  return { upstream, log, clock };
};

const pidsOf = ({ entries }: ReturnType<typeof recordingLog>): readonly number[] => entries.filter(({ message }) => message === 'upstream process started').map(({ facts }) => Number(facts['pid']));

describe('the eras of a server on stdio', () => {
  it.each<[string, Partial<StdioUpstreamOptions>, readonly string[], number]>([
    ['of SDK v1', v1StdioCommand, ['legacy'], 1],
    ['of SDK v2', v2StdioCommand, ['legacy', 'modern'], 1],
    ['that speaks the modern one only', fixture('modern-server'), ['modern'], 1],
    ['that ends on what comes before initialize', fixture('strict-v1-server'), ['legacy'], 2],
    ['that is silent until it is initialized', { ...fixture('scripted-server'), limits: { eraProbeMs: 100 } }, ['legacy'], 1],
    ['that starts more slowly than one waits', { ...fixture('modern-server', '--both', '--late', '150'), limits: { eraProbeMs: 50 } }, ['legacy', 'modern'], 1],
  ])('%s are found by asking once', async (_what, options, eras, children) => {
    const { upstream, log } = start(options);
    const [first, second] = await Promise.all([upstream.eras(), upstream.eras()]);
    expect(first).toEqual(eras);
    expect(second).toEqual(eras);
    expect(await upstream.eras()).toEqual(eras);
    const pids = pidsOf(log);
    expect(pids).toHaveLength(children);
    expect(pids.filter(isRunning)).toEqual([]);
    expect(log.entries.filter(({ level }) => level === 'warn')).toEqual([]);
    expect(log.entries.filter(({ message }) => message === 'upstream eras found').map(({ facts }) => facts)).toEqual([{ upstream: 'tools', eras }]);
  });

  it.each([['legacy', ['legacy']], ['modern', ['modern']], ['both', ['legacy', 'modern']]] as const)('are not asked for when they are configured: %s', async (era, eras) => {
    const { upstream, log } = start({ ...fixture('dies-at-start'), era });
    expect(await upstream.eras()).toEqual(eras);
    expect(pidsOf(log)).toEqual([]);
  });

  it('are not known while the command cannot be started, and asked for again', async () => {
    const { upstream } = start({ command: 'no-such-mcp-server' });
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE' });
  });

  it('are not known of a server that answers nothing', async () => {
    const { upstream, log } = start({ ...fixture('modern-server', '--mute'), limits: { eraProbeMs: 20, eraStartMs: 20 } });
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT', facts: { upstream: 'tools' } });
    expect(pidsOf(log).filter(isRunning)).toEqual([]);
  });

  it('are not asked for once the upstream is closed, and nothing is left of a child that was being asked', async () => {
    const { upstream, log } = start({ ...fixture('modern-server', '--mute') });
    const asking = upstream.eras();
    asking.catch(() => undefined);
    await expect.poll(() => pidsOf(log)).toHaveLength(1);
    await upstream.close();
    await expect(asking).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    await expect(upstream.eras()).rejects.toMatchObject({ code: 'ERR_DRAINING' });
    expect(pidsOf(log).filter(isRunning)).toEqual([]);
  });
});

describe('a server that dies', () => {
  const exit = (name: string): ReturnType<typeof modern> => modern({ id: 1, method: 'tools/call', params: { name: 'exit' } }, { principal: principalNamed(name) });
  const raw = (name: string): ReturnType<typeof modern> => modern({ id: 1, method: 'tools/call', params: { name: 'raw' } }, { principal: principalNamed(name) });

  it('before it answers anything is started again at once, then after pauses that grow, for everybody', async () => {
    const { upstream, clock, log } = start(fixture('dies-at-start'));
    const died = { code: 'ERR_UPSTREAM_EXITED', facts: { exitCode: 7 } };
    await expect(upstream.eras()).rejects.toMatchObject(died);
    expect(await upstream.healthy()).toBe(true);
    await expect(upstream.exchange(raw('agent-7'))).rejects.toMatchObject(died);
    expect(await upstream.healthy()).toBe(false);
    const started = pidsOf(log).length;
    const paused = {
      code: 'ERR_UPSTREAM_EXITED',
      message: "the upstream's command keeps ending soon after its start and is started again in 0.5 s: see what it wrote to stderr in the log",
      facts: { upstream: 'tools', retryAfterMs: 500 },
    };
    await expect(upstream.eras()).rejects.toMatchObject(paused);
    await expect(upstream.exchange(raw('agent-8'))).rejects.toMatchObject(paused);
    await expect(upstream.exchange(initialize())).rejects.toMatchObject(paused);
    clock.offsetMs += 499;
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ facts: { retryAfterMs: 1 } });
    expect(pidsOf(log)).toHaveLength(started);
    clock.offsetMs += 1;
    expect(await upstream.healthy()).toBe(true);
    await expect(upstream.exchange(initialize())).rejects.toMatchObject(died);
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ facts: { retryAfterMs: 1_000 } });
  });

  it('while it serves a principal pauses that principal only, in both eras', async () => {
    const { upstream, clock, log } = start({ ...fixture('modern-server', '--both'), era: 'both' });
    const pending = upstream.exchange(modern({ id: 2, method: 'tools/call', params: { name: 'never' } }));
    const died = { code: 'ERR_UPSTREAM_EXITED', facts: { exitCode: 3 } };
    const dying = upstream.exchange(exit('agent-7'));
    await expect(dying).rejects.toThrow(/ended \(exit code 3\): see what it wrote to stderr in the log, then ask again$/u);
    await expect(pending).rejects.toMatchObject(died);
    expect(log.entries.find(({ message }) => message === 'upstream process exited')).toMatchObject({ level: 'warn', facts: { upstream: 'tools', code: 3, uptimeMs: 0 } });
    await expect(upstream.exchange(exit('agent-7'))).rejects.toMatchObject(died);
    await expect(upstream.exchange(raw('agent-7'))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_EXITED', facts: { retryAfterMs: 500 } });
    await expect(upstream.exchange(initialize())).rejects.toMatchObject({ facts: { retryAfterMs: 500 } });
    expect(await upstream.healthy()).toBe(true);
    expect((await upstream.exchange(raw('agent-8'))).kind).toBe('json');
    clock.offsetMs += 500;
    const session = (await upstream.exchange(initialize())).session ?? '';
    expect(session).not.toBe('');
    await expect(upstream.exchange(post({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'exit' } }, { session }))).rejects.toMatchObject(died);
    await expect(upstream.exchange(raw('agent-7'))).rejects.toMatchObject({ facts: { retryAfterMs: 1_000 } });
    clock.offsetMs += 1_000;
    expect(jsonOf(await upstream.exchange(raw('agent-7'))).id).toBe(1);
    clock.offsetMs += 60_000;
    // It had lived for a minute: this is a first death again.
    await expect(upstream.exchange(exit('agent-7'))).rejects.toMatchObject(died);
    expect((await upstream.exchange(raw('agent-7'))).kind).toBe('json');
  });

  it('does not answer at its start, is given up', async () => {
    const { upstream, log } = start({ ...fixture('modern-server', '--mute'), era: 'modern', limits: { eraStartMs: 50 } });
    await expect(upstream.exchange(raw('agent-7'))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_TIMEOUT' });
    await expect.poll(() => pidsOf(log).filter(isRunning)).toEqual([]);
  });
});
