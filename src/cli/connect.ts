/** `sallyport connect`: the bridge between an MCP client that knows no certificates and its gateways. */
import { Readable, Writable } from 'node:stream';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { startHttpBridge, startHttpBridges } from '../bridge/http-bridge.ts';
import type { NoticeSink } from '../bridge/notice.ts';
import { openGateway } from '../bridge/opened-gateway.ts';
import type { OpenedGateway } from '../bridge/opened-gateway.ts';
import { startStdioBridge } from '../bridge/stdio-bridge.ts';
import type { StdioBridge } from '../bridge/stdio-bridge.ts';
import type { ExitCode } from '../errors.ts';
import { common, passphraseOption, usage } from './cli.ts';
import type { Call, Cli } from './cli.ts';
import { targetsOf } from './connect-targets.ts';
import type { ConnectOptions, Target } from './connect-targets.ts';
import type { CliStream } from './io.ts';
import { printable } from './output.ts';

export function registerConnect(program: Command, cli: Cli): void {
  const command = program
    .command('connect')
    .description('carry an MCP client to a gateway with an identity: over stdio, or loopback HTTP with --http')
    .argument('[url]', 'MCP endpoint of the gateway (default: the one in the identity)')
    .option('--identity <dir>', 'directory that issue --out or enroll --out wrote; followed for renewals')
    .option('--token-file <file>', 'enroll with the one-time token in this file when there is no identity yet')
    .option('--token-env <name>', 'the same, with the token in this environment variable')
    .option('--enroll <url>', 'enrollment listener of the gateway (default: port 8444 of the host of the URL)')
    .option('--no-renew', 'leave the renewal of the certificate to someone else')
    .option('--config <file>', 'several gateways, each with its own identity, from this file')
    .option('--gateway <name>', 'only this one of the file, as stdio needs it')
    .option('--http [port]', 'listen on loopback HTTP instead of stdio, at an address with a secret', parsePort)
    .addOption(passphraseOption());
  common(command, [
    'sallyport connect https://localhost:8443/mcp --identity ./agent-7',
    'sallyport connect https://gateway.acme.internal:8443/mcp --identity ./agent-7 --token-file ./token',
    'sallyport connect --identity ./agent-7 --http',
    'sallyport connect --config bridge.yaml --gateway files',
    `claude mcp add acme -- npx sallyport connect https://localhost:8443/mcp --identity ${'$PWD'}/agent-7`,
  ]).action(cli.action<ConnectOptions>(connect));
}

async function connect(call: Call<ConnectOptions>): Promise<ExitCode> {
  const { targets, port, several } = await targetsOf(call);
  const opened: (OpenedGateway & { readonly target: Target })[] = [];
  const wakers = new Map<Target, () => void>();
  try {
    for (const target of targets) {
      const notice = noticesOf(call, several ? `${target.name}: ` : '');
      const { clock, randomness } = call.io;
      opened.push({ ...(await openGateway(target, { clock, randomness, notice, onIdentity: () => wakers.get(target)?.() })), target });
    }
    if (call.options.http !== undefined) return await serveHttp(call, opened, { port, several });
    const [one] = opened;
    if (one === undefined || opened.length > 1) throw usage(`stdio carries one gateway: choose with --gateway ${targets.map(({ name }) => name).join(' | ')}, or serve all of them with --http`);
    return await serveStdio(call, one, (wake) => wakers.set(one.target, wake));
  } finally {
    for (const { close } of opened) close();
  }
}

async function serveStdio(call: Call<ConnectOptions>, { url, fetch }: OpenedGateway, onWake: (wake: () => void) => void): Promise<ExitCode> {
  const { io } = call;
  const bridge: StdioBridge = startStdioBridge({ url, fetch, input: readableOf(io.stdin), output: writableOf(io.stdout), notice: noticesOf(call, ''), signal: io.signal });
  onWake(() => bridge.wake());
  return bridge.done;
}

async function serveHttp(call: Call<ConnectOptions>, opened: readonly (OpenedGateway & { readonly target: Target })[], { port, several }: { port: number | undefined; several: boolean }): Promise<ExitCode> {
  const { io, output } = call;
  // Said now rather than at the first request: nobody reads an HTTP answer while setting this up.
  await Promise.all(
    opened.map(async ({ url, fetch, target }) => {
      await fetch.identity();
      const verdict = await fetch.diagnose(url);
      if (verdict !== undefined) noticesOf(call, several ? `${target.name}: ` : '')({ level: 'error', message: verdict.message });
    }),
  );
  const listener = { notice: noticesOf(call, ''), randomness: io.randomness, ...(port === undefined ? {} : { port }) };
  const [first] = opened;
  let close: () => Promise<void>;
  if (several || first === undefined) {
    const bridges = await startHttpBridges({ ...listener, gateways: opened.map(({ url, fetch, target }) => ({ name: target.name, url, fetch })) });
    const gateways = [...bridges.urls].map(([name, url]) => ({ name, url }));
    output.event({ gateways, port: bridges.port }, gateways.map(({ name, url }) => `${name}  ${url}`).join('\n'));
    ({ close } = bridges);
  } else {
    const bridge = await startHttpBridge({ ...listener, url: first.url, fetch: first.fetch });
    output.event({ url: bridge.url, port: bridge.port }, bridge.url);
    ({ close } = bridge);
  }
  output.note('whoever knows this address acts as the agent: put it into your MCP client only; it changes at every start');
  if (!io.signal.aborted) await new Promise<void>((ended) => io.signal.addEventListener('abort', () => ended(), { once: true }));
  await close();
  return 0;
}

const noticesOf =
  ({ io, output }: Call<ConnectOptions>, prefix: string): NoticeSink =>
  ({ level, message, facts }) => {
    if (output.json) io.stderr.write(`${JSON.stringify({ level, message: `${prefix}${message}`, ...(facts === undefined ? {} : { facts }) })}\n`);
    else io.stderr.write(`sallyport: ${printable(`${prefix}${message}`)}\n`);
  };

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
