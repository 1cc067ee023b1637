/** `sallyport serve`: the gateway, until a signal ends it. */
import { once } from 'node:events';
import { createGateway } from '../app/create-gateway.ts';
import type { UpstreamSource } from '../app/upstreams.ts';
import { defaultUpstreamName } from '../config/starter.ts';
import { collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readPassphrase } from './passphrase.ts';

interface ServeOptions {
  readonly listen?: string;
  readonly public?: string | false;
  readonly enroll?: string | false;
  readonly upstream?: readonly string[];
}

export const registerServe: RegisterCommand = (program, cli) => {
  const command = program
    .command('serve')
    .description('run the gateway in front of one or several MCP servers')
    .argument('[command...]', 'after --: program and arguments of an MCP server on stdio, one child for each session')
    .option('--listen <host:port>', 'where agents connect, mutual TLS (default: gateway.listen)')
    .option('--public <host:port>', 'CRLs, OCSP, CA certificates, health: plain HTTP (default: gateway.public)')
    .option('--no-public', 'no public listener')
    .option('--enroll <host:port>', 'enrollment and renewal, TLS (default: gateway.enroll)')
    .option('--no-enroll', 'no enrollment')
    .option('--upstream <name=url>', 'an MCP server on Streamable HTTP; may be repeated', collect)
    .addOption(passphraseOption());
  common(command, [
    'sallyport serve -- npx -y @modelcontextprotocol/server-everything',
    'sallyport serve --upstream docs=http://127.0.0.1:3000/mcp --upstream tickets=http://127.0.0.1:3001/mcp',
    'sallyport serve --dir ./port --listen 0.0.0.0:8443 --no-enroll',
  ]);
  command.addHelpText('after', '\nEach upstream is served at /NAME/mcp, the command and an only one at /mcp. Given here, they replace those of sallyport.yaml. SIGHUP and saved files reload policy and certificates; SIGTERM drains.');
  command.action(cli.action<ServeOptions>(serve));
};

async function serve(call: Call<ServeOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const given = upstreamsOf(call);
  const gateway = await createGateway({
    directory,
    passphrase: await readPassphrase(io, options),
    upstreams: given.size === 0 ? undefined : Object.fromEntries(given),
    listen: options.listen,
    // Commander says true for an option that only has a --no form given nowhere.
    public: options.public === false ? false : textOf(options.public),
    enroll: options.enroll === false ? false : textOf(options.enroll),
    clock: io.clock,
    randomness: io.randomness,
    env: io.env,
  });
  const onHangUp = (): void => void gateway.reload();
  try {
    await gateway.listen();
    process.on('SIGHUP', onHangUp);
    const facts = { url: gateway.url, endpoints: gateway.paths.map(({ path, upstream }) => ({ upstream, url: gateway.url + path })), publicUrl: gateway.publicUrl ?? null, enrollUrl: gateway.enrollUrl ?? null, pid: process.pid };
    output.event(facts, () =>
      [
        ...gateway.paths.map(({ path, upstream }) => `${output.paint('green', 'serving')} ${gateway.url}${path}${gateway.paths.length > 1 ? `  (${upstream})` : ''}`),
        ...(gateway.enrollUrl === undefined ? [] : [`  enrollment ${gateway.enrollUrl}`]),
        ...(gateway.publicUrl === undefined ? [] : [`  public     ${gateway.publicUrl}`]),
        '  stop with Ctrl-C: running calls get to finish',
      ].join('\n'),
    );
    if (!io.signal.aborted) await once(io.signal, 'abort');
  } finally {
    process.off('SIGHUP', onHangUp);
    await gateway.close();
  }
}

const textOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

function upstreamsOf({ args, options }: Call<ServeOptions>): ReadonlyMap<string, UpstreamSource> {
  const command = (Array.isArray(args[0]) ? args[0] : []) as readonly string[];
  const upstreams = new Map<string, UpstreamSource>();
  if (command.length > 0) upstreams.set(defaultUpstreamName, { command });
  for (const text of options.upstream ?? []) {
    const at = text.indexOf('=');
    const name = text.slice(0, at);
    const url = text.slice(at + 1);
    if (at < 1 || !/^(?!mcp$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name) || !URL.canParse(url)) throw usage(`--upstream ${text} is not NAME=URL: write it like docs=http://127.0.0.1:3000/mcp`);
    if (upstreams.has(name)) throw usage(`two upstreams are named ${name}: give each its own name`);
    upstreams.set(name, { url });
  }
  return upstreams;
}
