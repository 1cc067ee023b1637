import type { Command } from 'commander';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Cli } from '../../src/cli/cli.ts';
import { processIo } from '../../src/cli/io.ts';
import { allCommands } from '../../src/cli/commands.ts';
import { createProgram } from '../../src/cli/main.ts';
import { Workplace } from '../cli/run.ts';

let place: Workplace;
beforeAll(async () => {
  place = await Workplace.make();
});
afterAll(() => place.remove());

const program = createProgram(new Cli(processIo(new AbortController().signal), async () => 0), { version: '0.0.0', commands: await allCommands() });
const leavesOf = (command: Command, above: readonly string[]): readonly string[] => (command.commands.length === 0 ? [above.join(' ')] : command.commands.flatMap((child) => leavesOf(child, [...above, child.name()])));
const leaves = leavesOf(program, []);

it('keeps the names of the commands', () => {
  expect(leaves).toEqual(
    expect.arrayContaining(['init', 'issue', 'token create', 'enroll', 'connect', 'revoke', 'inventory', 'crl', 'policy check', 'policy explain', 'audit tail', 'audit verify', 'audit export']),
  );
});

it.each(leaves.map((name) => [name]))('%s has --help with examples, --json and --dir', async (name) => {
  const { code, stdout } = await place.run(...name.split(' '), '--help');
  expect(code).toBe(0);
  expect(stdout).toMatch(/Examples:\n {2}\$ /);
  expect(stdout).toContain('--json');
  expect(stdout).toContain('--dir <dir>');
});

it.each([
  ['done', ['--version'], 0],
  ['usage: unreadable file', ['issue', 'a', '--csr', 'missing', '--dir', 'nowhere'], 2],
  ['usage: unknown command', ['open'], 2],
  ['usage: unknown option', ['inventory', '--colour'], 2],
  ['usage: no command', [], 2],
  ['usage: bad choice', ['revoke', 'a', '--reason', 'whim'], 2],
  ['no data directory', ['inventory'], 2],
  ['a finding', ['policy', 'check', 'missing.yaml'], 3],
])('exit code: %s', async (_what, argv, code) => {
  expect((await place.run(...argv)).code).toBe(code);
});

it('prints errors as one JSON line on standard error with --json', async () => {
  const { stdout, stderr } = await place.run('inventory', '--json');
  expect(stdout).toBe('');
  expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'ERR_CONFIG_MISSING' } });
});
