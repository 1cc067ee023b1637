import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { upstreamsOf } from '../../src/app/upstreams.ts';
import type { CommandSource } from '../../src/app/upstreams.ts';
import type { Config } from '../../src/config/load.ts';
import { systemClock, systemRandomness } from '../../src/system.ts';
import type { Upstream } from '../../src/upstream/upstream.ts';
import { quietLog } from '../support/gateway-upstreams.ts';
import { jsonOf, modern } from '../support/upstream-requests.ts';

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-commands-')));
afterAll(() => rmSync(directory, { recursive: true }));

const world = {
  config: { directory, gateway: { limits: { eventBufferPerStream: 10 } } } as unknown as Config,
  env: { PATH: process.env['PATH'], PROXY: 'p', SALLYPORT_PASSPHRASE: 's' },
  identityKey: undefined, clock: systemClock, randomness: systemRandomness, log: quietLog,
};

const upstreamOf = async (source: CommandSource): Promise<Upstream> => (await upstreamsOf(new Map([['tools', source]]), world))[0] as Upstream;

const server = [process.execPath, fileURLToPath(new URL('../support/stdio-fixtures/modern-server.ts', import.meta.url))];

describe('a configured command', () => {
  it('is started in its directory, with the variables it is given and those it may inherit', async () => {
    const upstream = await upstreamOf({ command: server, cwd: '.', env: { GIVEN: 'g' }, inheritEnv: ['PROXY', 'UNSET'], era: 'modern', limits: {}, idleMs: 60_000 });
    try {
      expect(await upstream.eras()).toEqual(['modern']);
      const { environment, cwd } = jsonOf(await upstream.exchange(modern({ id: 1, method: 'tools/call', params: { name: 'pid' } }))).result;
      expect(environment).toEqual({ PATH: process.env['PATH'], PROXY: 'p', GIVEN: 'g' });
      expect(cwd).toBe(directory);
    } finally {
      await upstream.close();
    }
  });

  it.each<[string, CommandSource, string]>([
    ['without a program', { command: [] }, 'upstream tools has an empty command: name the program to run'],
    ['in a directory that is not there', { command: server, cwd: 'missing' }, 'the cwd of upstream tools is no directory: create it, or correct it'],
    ['in a directory that is a file', { command: server, cwd: 'file' }, 'the cwd of upstream tools is no directory: create it, or correct it'],
  ])('%s is refused at the start', async (_what, source, message) => {
    writeFileSync(join(directory, 'file'), '');
    await expect(upstreamOf(source)).rejects.toMatchObject({ code: 'ERR_CONFIG_INVALID', message });
  });
});
