/** `sallyport connect`: the bridge between an MCP client that knows no certificates and a gateway. */
import { resolve } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { startHttpBridge } from '../bridge/http-bridge.ts';
import { createIdentityFetch } from '../bridge/identity-fetch.ts';
import type { IdentityFetch } from '../bridge/identity-fetch.ts';
import type { NoticeSink } from '../bridge/notice.ts';
import { startStdioBridge } from '../bridge/stdio-bridge.ts';
import type { StdioBridge } from '../bridge/stdio-bridge.ts';
import { SallyportError } from '../errors.ts';
import type { ExitCode } from '../errors.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import type { CliStream } from './io.ts';
import { printable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface ConnectOptions {
  readonly identity: string;
  readonly http?: number | true;
}

export function registerConnect(program: Command, cli: Cli): void {
  const command = program
    .command('connect')
    .description('carry an MCP client to a gateway with an identity: over stdio, or loopback HTTP with --http')
    .argument('[url]', 'MCP endpoint of the gateway (default: the one in the identity)')
    .requiredOption('--identity <dir>', 'directory that issue --out or enroll --out wrote; followed for renewals')
    .option('--http [port]', 'listen on loopback HTTP instead of stdio, at an address with a secret', parsePort)
    .addOption(passphraseOption());
  common(command, [
    'sallyport connect https://localhost:8443/mcp --identity ./agent-7',
    'sallyport connect --identity ./agent-7 --http',
    `claude mcp add acme -- npx sallyport connect https://localhost:8443/mcp --identity ${'$PWD'}/agent-7`,
  ]).action(cli.action<ConnectOptions>(connect));
}

async function connect(call: Call<ConnectOptions>): Promise<ExitCode> {
  const { io, output, options } = call;
  const notice: NoticeSink = ({ level, message, facts }) => {
    if (output.json) io.stderr.write(`${JSON.stringify({ level, message, ...(facts === undefined ? {} : { facts }) })}\n`);
    else io.stderr.write(`sallyport: ${printable(message)}\n`);
  };
  let bridge: StdioBridge | undefined;
  const identityFetch = createIdentityFetch({
    identity: resolve(io.cwd, options.identity),
    passphrase: await readPassphrase(io, options),
    clock: io.clock,
    onProblem: (error) => notice({ level: 'warn', message: `${error.message}; the identity loaded before stays in use` }),
    onIdentity: (identity) => {
      notice({ level: 'info', message: `took the renewed identity ${identity.name} into use, valid until ${identity.notAfter.toISOString()}` });
      bridge?.wake();
    },
  });
  try {
    const url = await endpointOf(call.args[0], identityFetch);
    if (options.http !== undefined) return await serveHttp(call, url, identityFetch, notice);
    bridge = startStdioBridge({ url, fetch: identityFetch, input: readableOf(io.stdin), output: writableOf(io.stdout), notice, signal: io.signal });
    return await bridge.done;
  } finally {
    identityFetch.close();
  }
}

async function serveHttp({ io, output, options }: Call<ConnectOptions>, url: URL, identityFetch: IdentityFetch, notice: NoticeSink): Promise<ExitCode> {
  // Said now rather than at the first request: nobody reads an HTTP answer while setting this up.
  await identityFetch.identity();
  const verdict = await identityFetch.diagnose(url);
  if (verdict !== undefined) notice({ level: 'error', message: verdict.message });
  const bridge = await startHttpBridge({ url, fetch: identityFetch, notice, randomness: io.randomness, ...(typeof options.http === 'number' ? { port: options.http } : {}) });
  output.event({ url: bridge.url, port: bridge.port }, bridge.url);
  output.note('whoever knows this address acts as the agent: put it into your MCP client only; it changes at every start');
  if (!io.signal.aborted) await new Promise<void>((ended) => io.signal.addEventListener('abort', () => ended(), { once: true }));
  await bridge.close();
  return 0;
}

async function endpointOf(given: unknown, identityFetch: IdentityFetch): Promise<URL> {
  if (typeof given === 'string') {
    const url = URL.canParse(given) ? new URL(given) : undefined;
    if (url?.protocol !== 'https:') throw usage(`${given} is not an https address: give the MCP endpoint, for example https://localhost:8443/mcp`, { url: given });
    return url;
  }
  const { gateway, directory } = await identityFetch.identity();
  if (gateway === undefined) throw new SallyportError('ERR_USAGE', `the identity in ${directory} names no gateway: give its URL, for example https://localhost:8443/mcp`);
  return new URL(gateway);
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 65_535)) throw new InvalidArgumentError('a port is a number up to 65535');
  return port;
}

const readableOf = (stream: NodeJS.ReadableStream): Readable => (stream instanceof Readable ? stream : new Readable().wrap(stream));

const writableOf = (stream: CliStream): Writable =>
  stream instanceof Writable
    ? stream
    : new Writable({
        write(chunk: Uint8Array, _encoding, done) {
          stream.write(chunk);
          done();
        },
      });
