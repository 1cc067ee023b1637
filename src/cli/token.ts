/** `sallyport token`: one-time words with which agents enroll themselves. */
import { z } from 'zod';
import { CaError } from '../../ca/index.ts';
import type { CaStore } from '../../ca/index.ts';
import { createdToken, page, token as tokenSchema } from '../api/schemas.ts';
import { openDeployment, openForReading } from '../app/deployment.ts';
import { argument, collect, common, passphraseOption, usage } from './cli.ts';
import type { Call, RegisterCommand } from './cli.ts';
import { formatTable } from './output.ts';
import { readPassphrase } from './passphrase.ts';
import { remoteOf, remoteOptions } from './remote.ts';
import type { RemoteAuthority, RemoteOptions } from './remote.ts';

interface TokenOptions extends RemoteOptions {
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
  common(remoteOptions(create), ['sallyport token create agent-8 --ou analytics', 'sallyport token create agent-8 --ou analytics --ttl 1h --json', 'sallyport token create agent-8 --ou analytics --server https://mcp.acme.internal:8444 --identity ./pki-issuer']);
  create.action(cli.action<TokenOptions>(createToken));

  const list = token.command('list').description('list tokens, never their secrets').option('--all', 'also those that were used or whose time has passed');
  common(remoteOptions(list), ['sallyport token list', 'sallyport token list --all --json', 'sallyport token list --server https://mcp.acme.internal:8444 --identity ./pki-issuer']);
  list.action(cli.action<ListOptions>(listTokens));

  const remove = token
    .command('delete')
    .description('take an unused token back')
    .argument('<id>', 'id of the token, as token list shows it; as many digits as tell it from the others')
    .addOption(passphraseOption());
  common(remoteOptions(remove), ['sallyport token delete 4a3f09c1', 'sallyport token delete 4a3f09c1 --server https://mcp.acme.internal:8444 --identity ./pki-issuer']);
  remove.action(cli.action<RemoteOptions>(deleteToken));
};

interface ListOptions extends RemoteOptions {
  readonly all?: boolean;
}

async function createToken(call: Call<TokenOptions>): Promise<void> {
  const { io, options, directory } = call;
  const { ou: organizationalUnits = [], profile, ttl, certificateTtl } = options;
  const request = { agent: argument(call, 0), organizationalUnits, profile, ttl, ...(certificateTtl === undefined ? {} : { certificateTtl }) };
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      const { expiresAt, ...created } = await remote.call('POST', '/tokens', { answer: createdToken, body: request });
      tellCreated(call, { ...created, expiresAt: new Date(expiresAt) });
    } finally {
      remote.close();
    }
    return;
  }
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, config } = deployment;
    tellCreated(call, { ...(await authority.createToken({ ...request, actor: `cli:${io.user}` })), enrollUrl: config.gateway.enrollUrl });
  } finally {
    await deployment.close();
  }
}

interface Created {
  readonly token: string;
  readonly agent: string;
  readonly organizationalUnits: readonly string[];
  readonly profile: string;
  readonly expiresAt: Date;
  readonly enrollUrl: string | undefined;
}

function tellCreated({ output }: Call<TokenOptions>, { token, agent, organizationalUnits, profile, expiresAt, enrollUrl }: Created): void {
  output.result({ token, agent, organizationalUnits, profile, expiresAt, enrollUrl: enrollUrl ?? null }, token);
  output.note(
    enrollUrl === undefined
      ? `works once, until ${expiresAt.toISOString()}; enrollment is off in sallyport.yaml (gateway.enroll)`
      : `works once, until ${expiresAt.toISOString()}\nnext, on the agent's machine\n  sallyport enroll ${enrollUrl} --token-file - --out ./${agent}\nand paste the token`,
  );
}

async function listTokens({ io, options, output, directory }: Call<ListOptions>): Promise<void> {
  const now = io.clock.now();
  const tokens = (await readTokens({ io, options, directory })).map((token) => ({ ...token, state: stateOf(token, now) })).filter(({ state }) => options.all === true || state === 'unused');
  output.result(
    tokens.map(({ id, agent, state, organizationalUnits, profile, createdAt, createdBy, expiresAt, spentAt }) => ({ id, agent, state, organizationalUnits, profile, createdAt, createdBy, expiresAt, spentAt })),
    () => (tokens.length === 0 ? 'no tokens' : formatTable(['ID', 'AGENT', 'STATE', 'OU', 'PROFILE', 'EXPIRES'], tokens.map((token) => [token.id.slice(0, 12), token.agent, token.state, token.organizationalUnits.join(', ') || '-', token.profile, token.expiresAt.toISOString().slice(0, 16).replace('T', ' ')]))),
  );
}

async function deleteToken(call: Call<RemoteOptions>): Promise<void> {
  const { io, options, output, directory } = call;
  const given = argument(call, 0).toLowerCase();
  if (!/^[0-9a-f]{4,64}$/.test(given)) throw usage(`${given} is not the id of a token: copy at least four digits from sallyport token list`);
  const tell = ({ id, agent }: Pick<Listed, 'id' | 'agent'>): void => output.result({ id, agent }, `deleted the token of ${agent}`);
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      const id = given.length === 64 ? given : meant(await remoteTokens(remote), given);
      if (id.length < 64) throw new CaError('ERR_TOKEN_UNKNOWN', 'there is no token of this id; see sallyport token list', { facts: { id: given } });
      tell(await remote.call('DELETE', `/tokens/${id}`, { answer: z.strictObject({ id: z.string(), agent: z.string() }) }));
    } finally {
      remote.close();
    }
    return;
  }
  const deployment = await openDeployment(directory, { ...io, passphrase: await readPassphrase(io, options) });
  try {
    const { authority, store } = deployment;
    const { agent, secretHash } = await authority.deleteToken(given.length === 64 ? given : meant(await allTokens(store.ca), given), { actor: `cli:${io.user}` });
    tell({ id: secretHash, agent });
  } finally {
    await deployment.close();
  }
}

/** The whole id; what was given when there is none that begins so. */
function meant(tokens: readonly Listed[], given: string): string {
  const found = tokens.map(({ id }) => id).filter((id) => id.startsWith(given));
  if (found.length > 1) throw usage(`${found.length} tokens begin with ${given}: give more digits`);
  return found[0] ?? given;
}

interface Listed {
  readonly id: string;
  readonly agent: string;
  readonly organizationalUnits: readonly string[];
  readonly profile: string;
  readonly createdAt: Date;
  readonly createdBy: string | null;
  readonly expiresAt: Date;
  readonly spentAt: Date | null;
}

type TokenState = 'unused' | 'used' | 'expired';

const stateOf = ({ spentAt, expiresAt }: Listed, now: Date): TokenState => (spentAt !== null ? 'used' : expiresAt <= now ? 'expired' : 'unused');

async function readTokens({ io, options, directory }: Pick<Call<RemoteOptions>, 'io' | 'options' | 'directory'>): Promise<readonly Listed[]> {
  const remote = remoteOf(io, options);
  if (remote !== undefined) {
    try {
      return await remoteTokens(remote);
    } finally {
      remote.close();
    }
  }
  const { store, close } = await openForReading(directory, io.clock);
  try {
    return await allTokens(store.ca);
  } finally {
    await close();
  }
}

async function remoteTokens(remote: RemoteAuthority): Promise<readonly Listed[]> {
  const all: Listed[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const { items, next }: z.output<typeof tokens> = await remote.call('GET', '/tokens', { answer: tokens, query: { limit: '500', ...(cursor === '' ? {} : { cursor }) } });
    all.push(...items.map(({ createdAt, expiresAt, spentAt, ...token }) => ({ ...token, createdAt: new Date(createdAt), expiresAt: new Date(expiresAt), spentAt: spentAt === null ? null : new Date(spentAt) })));
    cursor = next;
  }
  return all;
}

const tokens = page(tokenSchema);

async function allTokens(store: Pick<CaStore, 'tokens'>): Promise<readonly Listed[]> {
  const all: Listed[] = [];
  for (;;) {
    const last = all.at(-1);
    const some = await store.tokens(last === undefined ? {} : { after: { createdAt: last.createdAt, secretHash: last.id } });
    all.push(...some.map(({ secretHash: id, createdBy = null, spentAt = null, ...token }) => ({ ...token, id, createdBy, spentAt })));
    if (some.length < 1_000) return all;
  }
}
