/** `sallyport token create`: a one-time word with which an agent enrolls itself. */
import { openDeployment } from '../app/deployment.ts';
import { argument, collect, common, passphraseOption } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { readPassphrase } from './passphrase.ts';

interface TokenOptions {
  readonly ou?: readonly string[];
  readonly ttl: string;
  readonly profile: string;
  readonly certificateTtl?: string;
}

export const registerToken: RegisterCommand = (program, cli) => {
  const token = program.command('token').description('one-time enrollment tokens');
  const create = token
    .command('create')
    .description('make a token with which an agent gets its first certificate; it works once')
    .argument('<name>', 'name of the agent')
    .option('--ou <unit>', 'organizational unit of the certificate; may be repeated', collect)
    .option('--ttl <duration>', 'how long the token may be used', '15m')
    .option('--profile <profile>', 'one of sallyport profiles list, not for servers', 'agent')
    .option('--certificate-ttl <duration>', 'lifetime of the certificate (default: that of the profile)')
    .addOption(passphraseOption());
  common(create, ['sallyport token create agent-8 --ou analytics', 'sallyport token create agent-8 --ou analytics --ttl 1h --json']);
  create.action(cli.action<TokenOptions>(createToken));
};

async function createToken(call: Call<TokenOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, config } = deployment;
    const created = await authority.createToken({
      agent: argument(call, 0),
      organizationalUnits: options.ou ?? [],
      profile: options.profile,
      ttl: options.ttl,
      actor: `cli:${io.user}`,
      ...(options.certificateTtl === undefined ? {} : { certificateTtl: options.certificateTtl }),
    });
    const { enrollUrl } = config.gateway;
    output.result({ token: created.token, agent: created.agent, organizationalUnits: created.organizationalUnits, profile: created.profile, expiresAt: created.expiresAt, enrollUrl: enrollUrl ?? null }, created.token);
    output.note(
      enrollUrl === undefined
        ? `works once, until ${created.expiresAt.toISOString()}; enrollment is off in sallyport.yaml (gateway.enroll)`
        : `works once, until ${created.expiresAt.toISOString()}\nnext, on the agent's machine\n  sallyport enroll ${enrollUrl} --token-file - --out ./${created.agent}\nand paste the token`,
    );
  } finally {
    await deployment.close();
  }
}
