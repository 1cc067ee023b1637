/** Everything between an identity directory and a gateway that can be talked to: enrolled if need be, followed, renewed. */
import type { Clock, Randomness } from '../../ca/ports.ts';
import { SallyportError } from '../errors.ts';
import { enrollAtFirstStart } from './first-start.ts';
import type { TokenSource } from './first-start.ts';
import { refuseIdlePassphrase } from './identity.ts';
import { createIdentityFetch } from './identity-fetch.ts';
import type { IdentityFetch } from './identity-fetch.ts';
import type { NoticeSink } from './notice.ts';
import { Renewal } from './renewal.ts';

export interface GatewayAccess {
  /** MCP endpoint. Default: the one the identity names. */
  readonly url: URL | undefined;
  /** Identity directory, absolute. */
  readonly identity: string;
  readonly passphrase: string | undefined;
  /** Whether the passphrase was meant for this very key, so that it must open it. */
  readonly passphraseIs: 'forThisKey' | 'forAnyKey';
  readonly enroll: { readonly url: URL; readonly token: TokenSource } | undefined;
  readonly renew: 'auto' | 'off';
}

export interface OpenGatewayOptions {
  readonly clock: Clock;
  readonly randomness: Randomness;
  readonly notice: NoticeSink;
  /** A renewed identity was taken into use. */
  readonly onIdentity: () => void;
}

export interface OpenedGateway {
  readonly url: URL;
  readonly fetch: IdentityFetch;
  close(): void;
}

/** Rejects when the identity cannot be made or used, or names no gateway. */
export async function openGateway(access: GatewayAccess, { clock, randomness, notice, onIdentity }: OpenGatewayOptions): Promise<OpenedGateway> {
  const { identity: directory, passphrase } = access;
  if (access.enroll !== undefined) await enrollAtFirstStart({ directory, url: access.enroll.url, token: access.enroll.token, clock, notice, passphrase });
  if (passphrase !== undefined && access.passphraseIs === 'forThisKey') await refuseIdlePassphrase(directory);
  const fetch = createIdentityFetch({
    identity: directory,
    passphrase,
    clock,
    onProblem: (error) => notice({ level: 'warn', message: `${error.message}; the identity loaded before stays in use` }),
    onIdentity: (identity) => {
      notice({ level: 'info', message: `took the renewed identity ${identity.name} into use, valid until ${identity.notAfter.toISOString()}` });
      onIdentity();
    },
  });
  try {
    const url = access.url ?? (await namedGateway(fetch));
    const renewal = access.renew === 'auto' ? new Renewal({ directory, gateway: url, passphrase, notice, clock, randomness }) : undefined;
    renewal?.start();
    return {
      url,
      fetch,
      close: () => {
        renewal?.stop();
        fetch.close();
      },
    };
  } catch (error) {
    fetch.close();
    throw error;
  }
}

async function namedGateway(fetch: IdentityFetch): Promise<URL> {
  const { gateway, directory } = await fetch.identity();
  if (gateway === undefined) throw new SallyportError('ERR_USAGE', `the identity in ${directory} names no gateway: give its URL, for example https://localhost:8443/mcp`);
  return new URL(gateway);
}
