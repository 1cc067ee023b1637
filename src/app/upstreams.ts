/** From what a person configured, or a program passed, to upstreams the gateway can carry to. */
import { statSync } from 'node:fs';
import type { KeyObject } from 'node:crypto';
import { resolve } from 'node:path';
import type { Clock, Randomness } from '../../ca/index.ts';
import type { Config } from '../config/load.ts';
import { SallyportError } from '../errors.ts';
import { nodeHandlerOf } from '../gateway/fetch-handler.ts';
import type { FetchMcpHandler } from '../gateway/fetch-handler.ts';
import type { GatewayUpstream } from '../gateway/gateway.ts';
import type { NodeMcpHandler } from '../gateway/handler-leg.ts';
import { createHttpUpstream } from '../upstream/http.ts';
import type { ConfiguredEra } from '../upstream/http-eras.ts';
import { identityHeaders } from '../upstream/identity-headers.ts';
import type { IdentityHeaders } from '../upstream/identity-headers.ts';
import { identityTokens } from '../upstream/identity-token.ts';
import { createStdioUpstream } from '../upstream/stdio.ts';
import type { ResourceLimits } from '../upstream/resource-limits.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { readUpstreamCredential } from './upstream-credential.ts';
import type { UpstreamCredentialSource } from './upstream-credential.ts';
import { followUpstreamTls, readUpstreamTls } from './upstream-tls.ts';
import type { UpstreamTlsSource } from './upstream-tls.ts';

/** One MCP server: a command on stdio, a Streamable HTTP address, or a handler in this process. */
export type UpstreamSource =
  | CommandSource
  | UrlUpstreamSource
  /** Node handler: SDK v1 `transport.handleRequest`, or v2 `toNodeHandler(handler)`. */
  | { readonly handler: NodeMcpHandler }
  /** Fetch handler: SDK v2 `handler.fetch`. */
  | { readonly fetch: FetchMcpHandler };

/** An MCP server on stdio. */
export interface CommandSource {
  /** The program, then its arguments. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Names of further variables of this process that it gets to see. */
  readonly inheritEnv?: readonly string[] | undefined;
  /** Relative to the data directory. */
  readonly cwd?: string | undefined;
  /** What it speaks; `auto`, the default, asks it. */
  readonly era?: 'auto' | 'legacy' | 'modern' | 'both' | undefined;
  /** Enforced by the kernel; refused where it cannot. */
  readonly limits?: ResourceLimits | undefined;
  /** A process of modern requests ends after this time with nothing to do. Default ten minutes. */
  readonly idleMs?: number | undefined;
}

export interface UrlUpstreamSource {
  readonly url: string;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Default `auto`: it is asked. */
  readonly era?: ConfiguredEra;
  /** PEM texts, or files relative to the data directory. */
  readonly tls?: UpstreamTlsSource | undefined;
  readonly credential?: UpstreamCredentialSource | undefined;
  /** What it learns about the caller. Default `none`. */
  readonly identity?: 'none' | 'headers' | 'signed';
}

export interface UpstreamWorld {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Signs what upstreams learn about callers; see `needsIdentityKey`. */
  readonly identityKey: KeyObject | undefined;
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly log: UpstreamLog;
}

/** @throws SallyportError `ERR_CONFIG_INVALID` when there is none, or one cannot be used */
export const upstreamsOf = async (sources: ReadonlyMap<string, UpstreamSource>, world: UpstreamWorld): Promise<readonly GatewayUpstream[]> => {
  if (sources.size === 0) {
    throw new SallyportError('ERR_CONFIG_INVALID', 'there is no MCP server to stand in front of: name one in sallyport.yaml under upstreams, or run sallyport serve -- COMMAND');
  }
  const upstreams: GatewayUpstream[] = [];
  try {
    for (const [name, source] of sources) upstreams.push(await upstreamOf(name, source, world));
    return upstreams;
  } catch (error) {
    await Promise.all(upstreams.map((upstream) => ('close' in upstream ? upstream.close() : undefined)));
    throw error;
  }
};

export const needsIdentityKey = (sources: ReadonlyMap<string, UpstreamSource>): boolean => [...sources.values()].some((source) => 'url' in source && source.identity === 'signed');

const upstreamOf = async (name: string, source: UpstreamSource, world: UpstreamWorld): Promise<GatewayUpstream> => {
  if ('handler' in source) return { name, handler: source.handler };
  if ('fetch' in source) return { name, handler: nodeHandlerOf(source.fetch) };
  if ('url' in source) return urlUpstreamOf(name, source, world);
  return commandUpstreamOf(name, source, world);
};

const commandUpstreamOf = (name: string, source: CommandSource, { config, env: parentEnv, clock, randomness, log }: UpstreamWorld): GatewayUpstream => {
  const [command, ...args] = source.command;
  if (command === undefined) throw new SallyportError('ERR_CONFIG_INVALID', `upstream ${name} has an empty command: name the program to run`, { facts: { upstream: name } });
  const cwd = source.cwd === undefined ? undefined : resolve(config.directory, source.cwd);
  if (cwd !== undefined && statSync(cwd, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new SallyportError('ERR_CONFIG_INVALID', `the cwd of upstream ${name} is no directory: create it, or correct it`, { facts: { upstream: name, cwd } });
  }
  const { env, inheritEnv, era, limits: resourceLimits, idleMs } = source;
  return createStdioUpstream({
    name, command, args, env, inheritEnv, parentEnv, cwd, era, resourceLimits, clock, randomness, log,
    limits: { eventsPerStream: config.gateway.limits.eventBufferPerStream, ...(idleMs === undefined ? {} : { idleMs }) },
  });
};

const urlUpstreamOf = async (name: string, source: UrlUpstreamSource, world: UpstreamWorld): Promise<GatewayUpstream> => {
  const { config, env, log } = world;
  const place = { upstream: name, directory: config.directory, env, log };
  return createHttpUpstream({
    name, url: source.url, headers: source.headers, era: source.era, log,
    tls: source.tls === undefined ? undefined : await readUpstreamTls(source.tls, place),
    followTls: source.tls === undefined ? undefined : followUpstreamTls(source.tls, place),
    credential: source.credential === undefined ? undefined : await readUpstreamCredential(source.credential, place),
    identityHeaders: identityHeadersOf(source, world),
    limits: { answerTimeoutMs: config.gateway.limits.upstreamTimeoutMs },
  });
};

const identityHeadersOf = ({ url, identity = 'none' }: UrlUpstreamSource, { config, identityKey, clock, randomness }: UpstreamWorld): IdentityHeaders | undefined => {
  if (identity === 'none') return undefined;
  if (identity === 'headers') return identityHeaders;
  if (identityKey === undefined) throw new SallyportError('ERR_INTERNAL', 'there is no key to sign identities with');
  return identityTokens({ key: identityKey, issuer: config.gateway.url, audience: url, clock, randomness });
};
