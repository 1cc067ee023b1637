/** The ACME server of a deployment, when configuration wants one. */
import { lookup, Resolver } from 'node:dns/promises';
import type { Logger } from 'pino';
import { isAllowedBy, parseRange } from '../../ca/acme/address-range.ts';
import type { AddressRange } from '../../ca/acme/address-range.ts';
import { isAllowedHost } from '../../ca/acme/identifiers.ts';
import { AcmeServer } from '../../ca/acme/server.ts';
import type { Resolve } from '../../ca/acme/validation/network.ts';
import type { AcmeSettings } from '../../ca/acme/world.ts';
import { requireWay } from '../../ca/asking.ts';
import { CaError } from '../../ca/errors.ts';
import type { KeyWorld } from '../../ca/kept-key.ts';
import type { Config } from '../config/load.ts';
import type { Deployment, World } from './deployment.ts';
import { acmeSecretOf } from './own-key.ts';
import { presentPublicly } from './public-handler.ts';

export interface AcmeWorldOptions extends World {
  readonly deployment: Deployment;
  readonly passphrase: string | undefined;
  readonly logger: Logger;
  /** Base URL of the enrollment port, known once it is bound. */
  readonly base: () => string;
}

/** Undefined when it is off. @throws CaError `ERR_CA_PROFILE`, `ERR_KEY_*` */
export const acmeServerOf = async ({ deployment, clock, randomness, passphrase, logger, base }: AcmeWorldOptions): Promise<AcmeServer | undefined> => {
  const { config, store, authority } = deployment;
  const { acme } = config.ca;
  if (!acme.enabled) return undefined;
  for (const name of acme.profiles) {
    const profile = authority.profiles.get(name);
    if (profile !== undefined) requireWay(profile, 'acme');
    if (profile?.kind !== 'server') throw new CaError('ERR_CA_PROFILE', `ca.acme.profiles names ${name}, which is no profile of kind server; name one that is`, { facts: { profile: name } });
  }
  const settings = acmeSettingsOf(config);
  const validationRanges = rangesOf(acme.validationRanges);
  const world: KeyWorld = { passphrase, randomness };
  return new AcmeServer({
    authority, clock, randomness, settings, base,
    store: store.acme,
    certificates: store.ca,
    secret: await acmeSecretOf(config.directory, world),
    network: {
      resolve: resolverOf(acme.dnsServers),
      mayConnect: (address) => isAllowedBy(validationRanges, address),
      mayFollow: (host) => isAllowedHost(host, settings),
      httpPort: acme.dangerouslyHttpPort ?? 80,
      tlsPort: acme.dangerouslyTlsPort ?? 443,
    },
    present: presentPublicly,
    onError: (error) => logger.error({ error }, 'ACME request or validation failed'),
  });
};

export const acmeSettingsOf = ({ ca: { acme }, trustDomain }: Pick<Config, 'ca' | 'trustDomain'>): AcmeSettings => ({
  profiles: acme.profiles,
  dnsSuffixes: acme.dnsSuffixes,
  ipRanges: rangesOf(acme.ipRanges),
  agentSuffix: acme.agentSuffix ?? `agents.${trustDomain}`,
  externalAccount: acme.externalAccount,
  termsOfService: acme.termsOfService,
  website: acme.website,
});

/** Configuration has checked them. */
const rangesOf = (texts: readonly string[]): readonly AddressRange[] => texts.flatMap((text) => parseRange(text) ?? []);

const resolverOf = (servers: readonly string[]): Resolve => {
  const asked = new Resolver({ timeout: 2_000, tries: 2 });
  if (servers.length > 0) asked.setServers(servers);
  return async (name) => {
    // RFC 6761 §6.3: never asked of anybody.
    if (name === 'localhost' || name.endsWith('.localhost')) return ['127.0.0.1', '::1'];
    if (servers.length === 0) return (await lookup(name, { all: true })).map(({ address }) => address);
    const found = await Promise.allSettled([asked.resolve6(name), asked.resolve4(name)]);
    return found.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  };
};
