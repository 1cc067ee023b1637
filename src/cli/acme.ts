/** `sallyport acme`: who may order certificates by ACME. */
import { agentNames } from '../../ca/acme/identifiers.ts';
import { createExternalAccount, removeAccount } from '../../ca/acme/external-accounts.ts';
import type { AcmeAccount, ExternalAccount } from '../../ca/acme/ports.ts';
import { acmeSettingsOf } from '../app/acme.ts';
import { openDeployment, openForReading } from '../app/deployment.ts';
import { acmeSecretOf } from '../app/own-key.ts';
import type { Config } from '../config/load.ts';
import { argument, collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable } from './output.ts';
import { readPassphrase } from './passphrase.ts';

interface CreateOptions {
  readonly ou?: readonly string[];
  readonly profile?: string;
  readonly certificateTtl?: string;
  readonly server?: boolean;
  readonly host?: readonly string[];
  readonly ttl: string;
}

const shown = 1_000;

export const registerAcme: RegisterCommand = (program, cli) => {
  const account = program.command('acme').description('accounts of programs that get certificates by ACME');

  const create = account
    .command('create')
    .description('make an external account: a key identifier and a MAC key with which one ACME client registers')
    .argument('[agent]', 'name of the agent whose certificates the client may order')
    .option('--server', 'for certificates of servers instead, which the client proves by http-01 or tls-alpn-01')
    .option('--host <name>', 'with --server: a name the client may order, with what is beneath it (default: what ca.acme allows); may be repeated', collect)
    .option('--ou <unit>', 'organizational unit of the certificates; may be repeated', collect)
    .option('--profile <profile>', 'agent, agent-spiffe or one of sallyport.yaml (default: agent)')
    .option('--certificate-ttl <duration>', 'lifetime of the certificates (default: that of the profile)')
    .option('--ttl <duration>', 'how long the client may take to register', '24h')
    .addOption(passphraseOption());
  common(create, ['sallyport acme create agent-8 --ou analytics', 'sallyport acme create --server --host web.acme.internal', 'sallyport acme create agent-8 --json']);
  create.action(cli.action<CreateOptions>(createAccount));

  const list = account.command('list').description('external accounts, and accounts that registered without one, newest first');
  common(list, ['sallyport acme list', 'sallyport acme list --json']);
  list.action(cli.action(listAccounts));

  const remove = account.command('remove').description('end an account: from here on it can order nothing; its certificates stay good').argument('<id>', 'key identifier, or id of an account').addOption(passphraseOption());
  common(remove, ['sallyport acme remove u2fDMTc_YxCi9vTZk8VgsQ']);
  remove.action(cli.action(endAccount));
};

async function createAccount(call: Call<CreateOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const agent = typeof call.args[0] === 'string' ? call.args[0] : undefined;
  if ((agent === undefined) !== (options.server === true)) throw usage('say for whom: the name of an agent, or --server');
  if (options.host !== undefined && options.server !== true) throw usage('--host is for servers: give --server, or leave it out');
  if (options.server === true && (options.ou !== undefined || options.profile !== undefined || options.certificateTtl !== undefined)) throw usage('--ou, --profile and --certificate-ttl are for agents: what servers get is in ca.acme of sallyport.yaml');
  const passphrase = await readPassphrase(io, options);
  const deployment = await openDeployment(directory, { ...io, passphrase });
  try {
    const { authority, config, store } = deployment;
    const secret = await acmeSecretOf(config.directory, { passphrase, randomness: io.randomness });
    const { account, macKey } = await createExternalAccount(
      { authority, store: store.acme, clock: io.clock, randomness: io.randomness, secret },
      { agent, organizationalUnits: options.ou, profile: options.profile, certificateTtl: options.certificateTtl, names: options.host, ttl: options.ttl, actor: `cli:${io.user}` },
    );
    const server = directoryOf(config);
    const identifier = agent === undefined ? undefined : agentNames(agent, acmeSettingsOf(config).agentSuffix)[0];
    output.result({ kid: account.kid, hmacKey: macKey, agent: agent ?? null, names: account.names, identifier: identifier ?? null, expiresAt: account.expiresAt, server: server ?? null }, () => `kid       ${account.kid}\nhmac key  ${macKey}`);
    output.note(
      [
        `shown once; one client may register with it until ${account.expiresAt.toISOString()}`,
        server === undefined ? 'ACME is off in sallyport.yaml (ca.acme.enabled, gateway.enroll)' : `  server      ${server}`,
        ...(identifier === undefined ? [] : [`  order       ${identifier}`]),
      ].join('\n'),
    );
  } finally {
    await deployment.close();
  }
}

async function listAccounts({ io, output, directory }: Call<object>): Promise<void> {
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const external = await store.acme.externalAccounts(shown);
    const open = await store.acme.openAccounts(shown);
    output.result({ external: external.map((account) => externalView(account, io.clock.now())), open: open.map(openView) }, () => {
      if (external.length + open.length === 0) return 'no accounts; sallyport acme create makes one';
      return formatTable(
        ['ID', 'FOR', 'STATUS', 'CREATED', 'ACCOUNT'],
        [
          ...external.map((account) => [account.kid, account.agent ?? (account.names.join(', ') || 'servers'), statusOf(account, io.clock.now()), minute(account.createdAt), account.accountId ?? '-']),
          ...open.map((account) => [account.id, 'servers', account.status, minute(account.createdAt), '(without external account)']),
        ],
      );
    });
  } finally {
    await close();
  }
}

async function endAccount(call: Call<object>): Promise<void> {
  const { io, options, output, directory } = call;
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const removed = await removeAccount({ store: deployment.store.acme, clock: io.clock }, argument(call, 0), `cli:${io.user}`);
    output.result({ kid: removed.kid ?? null, account: removed.accountId ?? null, agent: removed.agent ?? null }, `removed ${removed.kid ?? removed.accountId ?? ''}${removed.agent === undefined ? '' : `, which was for ${removed.agent}`}`);
    output.note(`its certificates are good until they expire; to end them too:\n  sallyport revoke ${removed.agent ?? 'NAME'}`);
  } finally {
    await deployment.close();
  }
}

const directoryOf = ({ ca, gateway }: Config): string | undefined => (ca.acme.enabled && gateway.enrollUrl !== undefined ? `${gateway.enrollUrl}/acme/directory` : undefined);

const statusOf = ({ removedAt, accountId, expiresAt }: ExternalAccount, now: Date): 'removed' | 'bound' | 'expired' | 'waiting' =>
  removedAt !== undefined ? 'removed' : accountId !== undefined ? 'bound' : expiresAt <= now ? 'expired' : 'waiting';

const externalView = (account: ExternalAccount, now: Date): object => ({
  kid: account.kid, status: statusOf(account, now), agent: account.agent ?? null, organizationalUnits: account.organizationalUnits, profile: account.profile ?? null, names: account.names,
  createdAt: account.createdAt, expiresAt: account.expiresAt, removedAt: account.removedAt ?? null, account: account.accountId ?? null,
});

const openView = ({ id, status, contacts, createdAt }: AcmeAccount): object => ({ account: id, status, contacts, createdAt });

const minute = (date: Date): string => date.toISOString().slice(0, 16).replace('T', ' ');
