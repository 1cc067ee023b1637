/** `sallyport token`: one-time words with which agents enroll themselves. */
import type { CaStore, ListedToken } from '../../ca/index.ts';
import { openDeployment, openForReading } from '../app/deployment.ts';
import { argument, collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable } from './output.ts';
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

  const list = token.command('list').description('list tokens, never their secrets').option('--all', 'also those that were used or whose time has passed');
  common(list, ['sallyport token list', 'sallyport token list --all --json']);
  list.action(cli.action<ListOptions>(listTokens));

  const remove = token
    .command('delete')
    .description('take an unused token back')
    .argument('<id>', 'id of the token, as token list shows it; as many digits as tell it from the others')
    .addOption(passphraseOption());
  common(remove, ['sallyport token delete 4a3f09c1']);
  remove.action(cli.action(deleteToken));
};

interface ListOptions {
  readonly all?: boolean;
}

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

async function listTokens({ io, options, output, directory }: Call<ListOptions>): Promise<void> {
  const { store, close } = await openForReading(directory, io.clock);
  try {
    const now = io.clock.now();
    const tokens = (await allTokens(store.ca)).filter((token) => options.all === true || stateOf(token, now) === 'unused');
    output.result(
      tokens.map((token) => ({ id: token.secretHash, agent: token.agent, state: stateOf(token, now), organizationalUnits: token.organizationalUnits, profile: token.profile, createdAt: token.createdAt, createdBy: token.createdBy ?? null, expiresAt: token.expiresAt, spentAt: token.spentAt ?? null })),
      () => (tokens.length === 0 ? 'no tokens' : formatTable(['ID', 'AGENT', 'STATE', 'OU', 'PROFILE', 'EXPIRES'], tokens.map((token) => [token.secretHash.slice(0, 12), token.agent, stateOf(token, now), token.organizationalUnits.join(', ') || '-', token.profile, token.expiresAt.toISOString().slice(0, 16).replace('T', ' ')]))),
    );
  } finally {
    await close();
  }
}

async function deleteToken(call: Call<object>): Promise<void> {
  const { io, options, output, directory } = call;
  const given = argument(call, 0).toLowerCase();
  if (!/^[0-9a-f]{4,64}$/.test(given)) throw usage(`${given} is not the id of a token: copy at least four digits from sallyport token list`);
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, store } = deployment;
    const meant = given.length === 64 ? [given] : (await allTokens(store.ca)).map(({ secretHash }) => secretHash).filter((id) => id.startsWith(given));
    if (meant.length > 1) throw usage(`${meant.length} tokens begin with ${given}: give more digits`);
    const { agent, secretHash } = await authority.deleteToken(meant[0] ?? given, { actor: `cli:${io.user}` });
    output.result({ id: secretHash, agent }, `deleted the token of ${agent}`);
  } finally {
    await deployment.close();
  }
}

type TokenState = 'unused' | 'used' | 'expired';

const stateOf = ({ spentAt, expiresAt }: ListedToken, now: Date): TokenState => (spentAt !== undefined ? 'used' : expiresAt <= now ? 'expired' : 'unused');

async function allTokens(store: Pick<CaStore, 'tokens'>): Promise<readonly ListedToken[]> {
  const all: ListedToken[] = [];
  for (let last: ListedToken | undefined; ; ) {
    const page = await store.tokens(last === undefined ? {} : { after: last });
    all.push(...page);
    last = page.at(-1);
    if (page.length < 1_000) return all;
  }
}
