/** Which gateways `connect` is to reach and as whom: from the options, or from the file. Settings that contradict are refused. */
import { resolve } from 'node:path';
import { loadBridgeConfig } from '../bridge/bridge-config.ts';
import type { BridgeGatewayConfig } from '../bridge/bridge-config.ts';
import type { GatewayAccess } from '../bridge/opened-gateway.ts';
import { usage } from './cli.ts';
import type { Call } from './cli.ts';
import type { CliIo } from './io.ts';
import { readPassphrase } from './passphrase.ts';

export interface ConnectOptions {
  readonly identity?: string;
  readonly tokenFile?: string;
  readonly tokenEnv?: string;
  readonly enroll?: string;
  readonly renew: boolean;
  readonly config?: string;
  readonly gateway?: string;
  readonly http?: number | true;
}

export interface Target extends GatewayAccess {
  readonly name: string;
}

export interface Targets {
  readonly targets: readonly Target[];
  /** For loopback HTTP. */
  readonly port: number | undefined;
  /** They come from a file: then each has a name to be told apart by. */
  readonly several: boolean;
}

export async function targetsOf(call: Call<ConnectOptions>): Promise<Targets> {
  return call.options.config === undefined ? { targets: [await targetOf(call)], port: portOf(call.options), several: false } : targetsInFile(call, call.options.config);
}

/** Where a gateway listens for enrollment when its configuration says nothing else. */
const enrollmentPort = '8444';

async function targetOf({ io, options, args }: Call<ConnectOptions>): Promise<Target> {
  if (options.gateway !== undefined) throw usage('--gateway chooses from a file: give --config FILE with it');
  if (options.identity === undefined) throw usage('an identity is missing: give --identity DIR, or several with --config FILE');
  const [given] = args;
  const url = typeof given === 'string' ? httpsUrl(given, 'give the MCP endpoint, for example https://localhost:8443/mcp') : undefined;
  return {
    name: 'gateway',
    url,
    identity: resolve(io.cwd, options.identity),
    passphrase: await readPassphrase(io, options),
    passphraseIs: options.passphraseFile !== undefined ? 'forThisKey' : 'forAnyKey',
    enroll: enrollmentOf({ io, options, url }),
    renew: options.renew ? 'auto' : 'off',
  };
}

function enrollmentOf({ io, options, url }: { io: CliIo; options: ConnectOptions; url: URL | undefined }): Target['enroll'] {
  const { tokenFile, tokenEnv, enroll } = options;
  if (tokenFile !== undefined && tokenEnv !== undefined) throw usage('give either --token-file or --token-env');
  if (tokenFile === undefined && tokenEnv === undefined) {
    if (enroll !== undefined) throw usage('--enroll needs a token: give --token-file FILE or --token-env NAME');
    return undefined;
  }
  if (enroll === undefined && url === undefined) throw usage('to enroll, say where: give the URL of the gateway, or its enrollment listener with --enroll');
  const listener = enroll === undefined ? new URL(`https://${url?.hostname ?? ''}:${enrollmentPort}`) : httpsUrl(enroll, 'give the enrollment listener, for example https://localhost:8444');
  return { url: listener, token: tokenFile === undefined ? { variable: tokenEnv ?? '', env: io.env } : { file: resolve(io.cwd, tokenFile) } };
}

/** What the file says for each gateway, and the command line would say otherwise. */
const saidByFile = [
  ['identity', '--identity'],
  ['tokenFile', '--token-file'],
  ['tokenEnv', '--token-env'],
  ['enroll', '--enroll'],
  ['passphraseFile', '--passphrase-file'],
] as const;

async function targetsInFile({ io, options, args }: Call<ConnectOptions>, file: string): Promise<Targets> {
  if (args[0] !== undefined) throw usage(`the gateways are in ${file}: leave the URL out, or leave --config out`);
  for (const [key, flag] of saidByFile) if (options[key] !== undefined) throw usage(`${flag} is for one gateway: set it in ${file}, or leave --config out`);
  if (!options.renew) throw usage(`--no-renew is for one gateway: set renew: off in ${file}, or leave --config out`);
  const { gateways, http } = await loadBridgeConfig(resolve(io.cwd, file));
  const { gateway } = options;
  const chosen = gateway === undefined ? [...gateways] : [...gateways].filter(([name]) => name === gateway);
  if (chosen.length === 0) throw usage(`${file} has no gateway ${gateway ?? ''}: it has ${[...gateways.keys()].join(', ')}`);
  if (chosen.length > 1 && options.http === undefined) throw usage(`stdio carries one gateway, and ${file} has ${chosen.length}: choose with --gateway ${chosen.map(([name]) => name).join(' or ')}, or serve all of them with --http`);
  const port = portOf(options);
  if (port !== undefined && http.port !== undefined && port !== http.port) throw usage(`--http ${port} contradicts http.port of ${file}, which is ${http.port}: leave one out`);
  return { targets: await Promise.all(chosen.map(([name, one]) => fromFile(io, name, one))), port: port ?? http.port, several: true };
}

async function fromFile(io: CliIo, name: string, { url, identity, passphraseFile, enroll, renew }: BridgeGatewayConfig): Promise<Target> {
  return {
    name,
    url: url === undefined ? undefined : new URL(url),
    identity,
    passphrase: await readPassphrase(io, passphraseFile === undefined ? {} : { passphraseFile }),
    passphraseIs: passphraseFile === undefined ? 'forAnyKey' : 'forThisKey',
    enroll: enroll === undefined ? undefined : { url: new URL(enroll.url), token: enroll.tokenFile === undefined ? { variable: enroll.tokenEnv ?? '', env: io.env } : { file: enroll.tokenFile } },
    renew,
  };
}

const portOf = ({ http }: ConnectOptions): number | undefined => (typeof http === 'number' ? http : undefined);

function httpsUrl(given: string, next: string): URL {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url?.protocol !== 'https:') throw usage(`${given} is not an https address: ${next}`, { url: given });
  return url;
}
