/** `sallyport client-config`: what goes into an MCP client's configuration, printed or written there. */
import { homedir } from 'node:os';
import { resolve } from 'node:path';
import { Argument } from 'commander';
import type { Command } from 'commander';
import { loadBridgeConfig } from '../bridge/bridge-config.ts';
import { hasIdentity } from '../bridge/first-start.ts';
import { loadIdentity } from '../bridge/identity.ts';
import { SallyportError } from '../errors.ts';
import { argument, common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { asCommandLine, mcpClientNames, mcpClients, ownedKeys } from './mcp-clients.ts';
import type { BridgeLaunch, McpClientName } from './mcp-clients.ts';
import { ownCommand } from './own-command.ts';
import { readPassphrase } from './passphrase.ts';
import { changeSettings } from './settings-file.ts';
import { asWholeFile, withServer } from './settings-text.ts';

interface ClientConfigOptions {
  readonly identity?: string;
  readonly tokenFile?: string;
  readonly enroll?: string;
  readonly config?: string;
  readonly gateway?: string;
  readonly http?: string;
  readonly name?: string;
  readonly write?: boolean;
  readonly file?: string;
}

export function registerClientConfig(program: Command, cli: Cli): void {
  const command = program
    .command('client-config')
    .description('print what goes into the configuration of an MCP client, or write it there')
    .addArgument(new Argument('<client>', 'MCP client').choices([...mcpClientNames]))
    .argument('[url]', 'MCP endpoint of the gateway (default: the one in the identity)')
    .option('--identity <dir>', 'identity directory that the bridge presents')
    .option('--token-file <file>', 'let the bridge enroll with the token in this file at its first start')
    .option('--enroll <url>', 'enrollment listener of the gateway, for --token-file')
    .option('--config <file>', 'take gateway and identity from this file of sallyport connect')
    .option('--gateway <name>', 'which gateway of the file')
    .option('--http <address>', 'for a bridge that is running: the address sallyport connect --http printed')
    .option('--name <name>', 'name of the server in the MCP client (default: the upstream in the URL, else sallyport)')
    .option('--write', 'change the file of the MCP client; the one before is kept beside it')
    .option('--file <path>', 'another file than the one the MCP client reads by default')
    .addOption(passphraseOption());
  common(command, [
    'sallyport client-config claude-desktop --identity ./agent-7 --write',
    'sallyport client-config claude-code https://localhost:8443/mcp --identity ./agent-7',
    'sallyport client-config vscode --config bridge.yaml --gateway files --write',
    'sallyport client-config codex --identity ./agent-7 --name acme --file ./config.toml --write',
  ]).action(cli.action<ClientConfigOptions>(clientConfig));
}

async function clientConfig(call: Call<ClientConfigOptions>): Promise<void> {
  const { io, output, options } = call;
  const client = mcpClients[argument(call, 0) as McpClientName];
  refuseContradictions(call);
  const launch = options.http === undefined ? await stdioLaunch(call) : { url: loopbackAddress(options.http) };
  const name = serverName(call);
  const entry = client.entry(launch);
  if (entry === undefined) throw usage(`${client.title} reads only programs from its file: leave --http out`);
  const world = { platform: process.platform, home: io.env['HOME'] || homedir(), cwd: io.cwd, env: io.env };
  const file = options.file === undefined ? client.file(world) : resolve(io.cwd, options.file);
  const setting = { section: client.section, name, entry };
  const commandWords = client.commandLine(name, launch, file);
  const commandLine = commandWords === undefined ? undefined : asCommandLine(commandWords, process.platform);
  const facts = { client: argument(call, 0), name, file, command: commandLine };
  if (options.write !== true) {
    output.result({ ...facts, config: { [client.section]: { [name]: entry } } }, asWholeFile(client.form, setting).trimEnd());
    output.note(`belongs into ${file}; --write puts it there and keeps what else is in it`);
    if (commandLine !== undefined) output.note(client === mcpClients.inspector ? `then: ${commandLine}` : `or: ${commandLine}`);
    return;
  }
  // Whoever knows the address of a running bridge acts as its agent.
  const secret = 'url' in launch;
  const { changed, backup, readableByOthers } = await withFile(file, () => changeSettings(file, (text) => withServer(text, client.form, { ...setting, owned: ownedKeys }), { secret }));
  if (secret && readableByOthers) output.warn(`${file} holds the secret of the bridge now, and others may read it: run chmod 600 on it`);
  output.result({ ...facts, changed, backup }, changed ? `wrote ${name} to ${file}${backup === undefined ? '' : `; the file before is ${backup}`}` : `${file} has it already; nothing was changed`);
  if (changed) output.note(`next: ${client.afterwards}`);
  if (changed && client === mcpClients.inspector && commandLine !== undefined) output.note(`  ${commandLine}`);
}

function refuseContradictions({ options, args }: Call<ClientConfigOptions>): void {
  const { identity, tokenFile, enroll, config, gateway, http, passphraseFile } = options;
  const forOne = { '--identity': identity, '--token-file': tokenFile, '--enroll': enroll, '--passphrase-file': passphraseFile, 'the URL': args[1] };
  const given = Object.entries(forOne).flatMap(([flag, value]) => (value === undefined ? [] : [flag]));
  if (http !== undefined && (given.length > 0 || config !== undefined)) throw usage(`--http is for a bridge that runs already and has its identity: leave ${given[0] ?? '--config'} out`);
  if (config !== undefined && given[0] !== undefined) throw usage(`${given[0]} is in the file already: leave it out, or leave --config out`);
  if (gateway !== undefined && config === undefined) throw usage('--gateway chooses from a file: give --config FILE with it');
  if (enroll !== undefined && tokenFile === undefined) throw usage('--enroll needs a token: give --token-file FILE');
  if (http === undefined && config === undefined && identity === undefined) throw usage('an identity is missing: give --identity DIR, --config FILE, or the address of a running bridge with --http');
}

async function stdioLaunch(call: Call<ClientConfigOptions>): Promise<BridgeLaunch> {
  const { io, output, options } = call;
  const { command, script, passing } = await ownCommand(io.env);
  if (passing) output.warn(`${script} is in the cache of npx, which may be emptied: install sallyport (npm install -g sallyport) and run this again`);
  return { command, args: [script, 'connect', ...(options.config === undefined ? await identityArguments(call) : await configArguments(call, options.config))] };
}

/** Everything absolute: nobody knows in which directory an MCP client starts its servers. */
async function identityArguments(call: Call<ClientConfigOptions>): Promise<readonly string[]> {
  const { io, options, args } = call;
  const at = (path: string): string => resolve(io.cwd, path);
  const directory = at(options.identity ?? '');
  const [, url] = args;
  if (typeof url === 'string') httpsOnly(url, 'https://localhost:8443/mcp');
  if (options.enroll !== undefined) httpsOnly(options.enroll, 'https://localhost:8444');
  if (options.tokenFile === undefined || (await hasIdentity(directory))) {
    const { gateway } = await usableIdentity(call, directory);
    if (url === undefined && gateway === undefined) throw usage(`the identity in ${directory} names no gateway: give its URL, for example https://localhost:8443/mcp`);
  } else if (url === undefined && options.enroll === undefined) {
    throw usage('to enroll, say where: give the URL of the gateway, or its enrollment listener with --enroll');
  }
  return [
    ...(typeof url === 'string' ? [url] : []),
    '--identity', directory,
    ...(options.tokenFile === undefined ? [] : ['--token-file', at(options.tokenFile)]),
    ...(options.enroll === undefined ? [] : ['--enroll', options.enroll]),
    ...(options.passphraseFile === undefined ? [] : ['--passphrase-file', at(options.passphraseFile)]),
  ];
}

/** Tried now: the MCP client would only say that the server did not start. */
async function usableIdentity({ io, options }: Call<ClientConfigOptions>, directory: string): Promise<{ gateway: string | undefined }> {
  // Not from the environment, which the MCP client does not have.
  const passphrase = options.passphraseFile === undefined ? undefined : await readPassphrase(io, options);
  try {
    return await loadIdentity(directory, { passphrase });
  } catch (error) {
    if (error instanceof SallyportError && error.facts['reason'] === 'ERR_KEY_PASSPHRASE' && passphrase === undefined) {
      throw new SallyportError('ERR_BRIDGE_IDENTITY', `the key in ${directory} is encrypted, and the MCP client cannot ask for a passphrase: give a file that holds it with --passphrase-file`, { facts: { directory, reason: 'ERR_KEY_PASSPHRASE' }, cause: error });
    }
    throw error;
  }
}

async function configArguments({ io, options }: Call<ClientConfigOptions>, config: string): Promise<readonly string[]> {
  const { file, gateways } = await loadBridgeConfig(resolve(io.cwd, config));
  const names = [...gateways.keys()];
  const name = options.gateway ?? (names.length === 1 ? names[0] : undefined);
  if (name === undefined) throw usage(`an entry reaches one gateway: choose with --gateway ${names.join(' or ')}, and make one entry for each`);
  if (!gateways.has(name)) throw usage(`${config} has no gateway ${name}: it has ${names.join(', ')}`);
  return ['--config', file, '--gateway', name];
}

function loopbackAddress(given: string): string {
  const url = URL.parse(given);
  const loopback = url?.protocol === 'http:' && ['127.0.0.1', 'localhost', '[::1]'].includes(url.hostname) && /^\/[\w-]{43}\/(?:[a-z0-9-]+\/)?mcp$/u.test(url.pathname) && url.search === '' && url.hash === '';
  if (!loopback) throw usage('--http needs the whole address that sallyport connect --http printed, such as http://127.0.0.1:7777/SECRET/mcp');
  return given;
}

function serverName({ options, args }: Call<ClientConfigOptions>): string {
  const upstream = /\/([a-z0-9][a-z0-9-]*)\/mcp$/u.exec(URL.parse(typeof args[1] === 'string' ? args[1] : '')?.pathname ?? '')?.[1];
  const name = options.name ?? options.gateway ?? upstream ?? 'sallyport';
  // Bare keys of TOML, and no key that reaches into prototypes.
  if (!/^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/u.test(name) || name === 'constructor' || name === 'prototype') throw usage(`${JSON.stringify(name)} is no name for a server: use letters, digits, - and _, at most 64, and begin with a letter or digit`);
  return name;
}

function httpsOnly(given: string, example: string): void {
  if (URL.parse(given)?.protocol !== 'https:') throw usage(`${given} is not an https address: give one such as ${example}`);
}

/** Names the file in what is wrong with its text. */
async function withFile<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof SallyportError) || error.message.includes(file) || error.facts['file'] !== undefined) throw error;
    throw new SallyportError(error.code === 'ERR_CONFIG_INVALID' ? 'ERR_CONFIG_INVALID' : 'ERR_INTERNAL', `${file} was not changed, because ${error.message}`, { facts: { file }, cause: error });
  }
}
