import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childEnvironment } from '../../src/upstream/child-environment.ts';
import { resolveCommand } from '../../src/upstream/command.ts';

let directory = '';
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sallyport-command-'));
  await mkdir(join(directory, 'bin'));
  await mkdir(join(directory, 'folder'));
  for (const name of ['bin/server', 'server', 'bin/npx.cmd']) {
    await writeFile(join(directory, name), '');
    await chmod(join(directory, name), 0o755);
  }
  await writeFile(join(directory, 'bin/data'), '');
});
afterAll(() => rm(directory, { recursive: true }));

const linux = (path: string): Parameters<typeof resolveCommand>[2] => ({ cwd: directory, environment: { PATH: path }, platform: 'linux' });

describe('a command', () => {
  it('is found on the PATH', async () => {
    expect(await resolveCommand('server', ['--x'], linux(`/nowhere:${join(directory, 'bin')}`))).toEqual({ file: join(directory, 'bin/server'), args: ['--x'], verbatim: false });
  });

  it('with a slash is a path, relative to the working directory of the upstream', async () => {
    expect((await resolveCommand('./server', [], linux(''))).file).toBe(join(directory, 'server'));
    expect((await resolveCommand(join(directory, 'server'), [], linux(''))).file).toBe(join(directory, 'server'));
  });

  it.each(['missing', 'data', 'folder', 'server'])('%s is not taken from the working directory, and no file that cannot be executed is', async (command) => {
    await expect(resolveCommand(command, [], linux(`:${join(directory, 'folder')}:/nowhere`))).rejects.toMatchObject({ code: 'ERR_UPSTREAM_UNREACHABLE', facts: { command } });
  });

  it('that is a batch file on Windows runs in cmd.exe, with nothing left that cmd.exe could act on', async () => {
    const environment = { Path: join(directory, 'bin'), PATHEXT: '.EXE;.CMD', ComSpec: 'C:\\cmd.exe' };
    const invocation = await resolveCommand('npx', ['-y', 'a b', 'x&calc', '%PATH%', '"q"'], { cwd: directory, environment, platform: 'win32' });
    expect(invocation.file).toBe('C:\\cmd.exe');
    expect(invocation.verbatim).toBe(true);
    expect(invocation.args.slice(0, 3)).toEqual(['/d', '/s', '/c']);
    const line = invocation.args[3] ?? '';
    expect(line.slice(1, -1)).not.toMatch(/(?<!\^)[&|<>%"!]/u);
    expect(line).toContain('^"a^ b^"');
  });
});

describe('the environment of a child', () => {
  it('has the listed variables, the configured ones over them, and no shell functions', () => {
    const parent = { PATH: '/bin', HOME: '/h', SECRET: 's', NODE_OPTIONS: '--inspect', LANG: '() { :; }; evil', TZ: undefined };
    expect(childEnvironment(parent, { configured: { HOME: '/other', API: 'x' } })).toEqual({ PATH: '/bin', HOME: '/other', API: 'x' });
  });

  it('has further variables of the gateway only by name', () => {
    const parent = { PATH: '/bin', PROXY: 'p', SECRET: 's', CODE: '() { :; }' };
    expect(childEnvironment(parent, { inherit: ['PROXY', 'CODE', 'UNSET'] })).toEqual({ PATH: '/bin', PROXY: 'p' });
    expect(childEnvironment(parent, { inherit: ['PROXY'], configured: { PROXY: 'q' } })).toEqual({ PATH: '/bin', PROXY: 'q' });
  });
});
