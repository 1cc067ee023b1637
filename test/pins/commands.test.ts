import type { Command } from 'commander';
import { expect, it } from 'vitest';
import { Cli } from '../../src/cli/cli.ts';
import { processIo } from '../../src/cli/io.ts';
import { allCommands } from '../../src/cli/commands.ts';
import { createProgram } from '../../src/cli/main.ts';

const program = createProgram(new Cli(processIo(new AbortController().signal), async () => 0), { version: '0.0.0', commands: await allCommands() });
const leavesOf = (command: Command, above = ''): readonly (readonly [string, Command])[] =>
  command.commands.length === 0 ? [[above + command.name(), command]] : command.commands.flatMap((child) => leavesOf(child, command === program ? '' : `${above}${command.name()} `));
const leaves = new Map(leavesOf(program));

/** Besides --json and --dir, which every command has. */
const pinned: readonly (readonly [name: string, surface: string])[] = [
  ['demo', ''],
  ['init', '--name <name> | --trust-domain <domain> | --host <host> | --key-algorithm <algorithm> | --root-key-algorithm <algorithm> | --root <file> | --root-key <file> | --issuing <file> | --issuing-key <file> | --chain <file> | --import-passphrase-file <file> | --key-uri <uri> | --root-key-uri <uri> | --permit-dns <domain> | --permit-trust-domain | --root-only | --offline-root <dir> | --ask-passphrase | --passphrase-file <file>'],
  ['issue', '<name> | --ou <unit> | --profile <profile> | --ttl <duration> | --csr <file> | --out <dir> | --host <host> | --email <address> | --allow-revoked | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['token create', '<name> | --ou <unit> | --ttl <duration> | --profile <profile> | --certificate-ttl <duration> | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['token list', '--all | --server <url> | --identity <dir>'],
  ['token delete', '<id> | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['acme create', '[agent] | --server | --host <name> | --ou <unit> | --profile <profile> | --certificate-ttl <duration> | --ttl <duration> | --passphrase-file <file>'],
  ['acme list', ''],
  ['acme remove', '<id> | --passphrase-file <file>'],
  ['enroll', '<url> | --token <token> | --token-file <file> | --out <dir> | --wait [duration] | --key-algorithm <algorithm> | --passphrase-file <file>'],
  ['renew', '<identity...> | --daemon | --force | --check | --same-key | --exec <command> | --pid-file <file> | --signal <signal> | --passphrase-file <file>'],
  ['requests list', '--state <state> | --server <url> | --identity <dir>'],
  ['requests show', '<id> | --server <url> | --identity <dir>'],
  ['requests approve', '<id> | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['requests deny', '<id> | --reason <text> | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['profiles list', ''],
  ['profiles show', '<name>'],
  ['serve', '[command...] | --listen <host:port> | --public <host:port> | --no-public | --enroll <host:port> | --no-enroll | --upstream <name=url> | --passphrase-file <file>'],
  ['connect', '[url] | --identity <dir> | --token-file <file> | --token-env <name> | --enroll <url> | --no-renew | --config <file> | --gateway <name> | --http [port] | --passphrase-file <file>'],
  ['client-config', '<client> | [url] | --identity <dir> | --token-file <file> | --enroll <url> | --config <file> | --gateway <name> | --http <address> | --name <name> | --write | --file <path> | --passphrase-file <file>'],
  ['export', '<identity-dir> | --format <format> | --out <path> | --separate | --name <name> | --password-file <file> | --force | --passphrase-file <file>'],
  ['revoke', '[name] | --serial <hex> | --thumbprint <hex> | --ou <unit> | --key <hash|file> | --issuer <ca> | --profile <profile> | --issued-after <time> | --issued-before <time> | --reason <reason> | --yes | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['release', '[name] | --serial <hex> | --thumbprint <hex> | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['inventory', '--status <status> | --expiring <duration> | --ou <unit> | --agent <name> | --algorithms | --format <format> | --server <url> | --identity <dir>'],
  ['crl', '--ca <ca> | --partition <number> | --delta | --list | --out <file> | --format <format> | --publish | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['ca audit', '--no-log'],
  ['ca show', ''],
  ['ca rotate prepare', '<role> | --key-algorithm <algorithm> | --permit-dns <domain> | --key-uri <uri> | --years <years> | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['ca rotate activate', '<ca> | --now | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['ca rotate retire', '<ca> | --cut-off | --passphrase-file <file> | --server <url> | --identity <dir>'],
  ['ca sign', '<request> | --ca <ca> | --path-len <number> | --years <years> | --permit-dns <domain> | --exclude-dns <domain> | --permit-uri <host> | --out <file> | --yes | --passphrase-file <file>'],
  ['ca cross-sign', '<certificate> | --ca <ca> | --path-len <number> | --years <years> | --permit-dns <domain> | --exclude-dns <domain> | --permit-uri <host> | --out <file> | --yes | --passphrase-file <file>'],
  ['ca accept', '<certificate> | --chain <file> | --passphrase-file <file>'],
  ['ca import-crl', '<files...> | --passphrase-file <file>'],
  ['ca bundle', '--format <format> | --out <file>'],
  ['verify', '<files...> | --trust <file> | --crl <file> | --at <time> | --purpose <purpose> | --on-unknown-status <word>'],
  ['trust list', ''],
  ['trust check', '<files...>'],
  ['trust refresh', '[name]'],
  ['policy check', '<file>'],
  ['policy explain', '--cert <file> | --tool <name> | --resource <uri> | --prompt <name> | --upstream <name> | --arguments <json> | --policy <file>'],
  ['tools list', '--upstream <name>'],
  ['tools diff', '[upstream] | [tool]'],
  ['tools approve', '<upstream> | [tools...] | --all | --digest <digest> | --passphrase-file <file>'],
  ['audit tail', '-n, --lines <count> | -f, --follow | --agent <name> | --action <action> | --denied'],
  ['audit verify', '--file <export> | --checkpoint <file> | --key <verifier key>'],
  ['audit export', '--out <file>'],
  ['backup create', '<file> | --backup-passphrase-file <file> | --force | --passphrase-file <file>'],
  ['backup verify', '<file> | --backup-passphrase-file <file>'],
  ['restore', '<file> | --backup-passphrase-file <file> | --crl <file> | --store <address> | --dangerously-keep-tokens | --passphrase-file <file>'],
  ['tidy', '--older-than <duration> | --yes | --passphrase-file <file>'],
  ['doctor', '--url <url> | --passphrase-file <file>'],
];

it('keeps the commands, in the order of --help', () => {
  expect([...leaves.keys()]).toEqual(pinned.map(([name]) => name));
});

it.each(pinned)('%s keeps its arguments and options', (name, surface) => {
  const command = leaves.get(name);
  const named = (command?.registeredArguments ?? []).map((one) => {
    const text = one.name() + (one.variadic ? '...' : '');
    return one.required ? `<${text}>` : `[${text}]`;
  });
  const flags = (command?.options ?? []).map((option) => option.flags);
  expect(flags.slice(-2)).toEqual(['--json', '--dir <dir>']);
  expect([...named, ...flags.slice(0, -2)].join(' | ')).toBe(surface);
});
