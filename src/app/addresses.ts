/** Where a gateway listens, and the addresses it tells others: what was configured, with the ports the system chose. */
import type { Config } from '../config/load.ts';
import { formatListenAddress, parseListenAddress } from '../config/listen-address.ts';
import type { ListenAddress } from '../config/listen-address.ts';
import { SallyportError } from '../errors.ts';

export interface AddressOverrides {
  readonly listen?: string | undefined;
  readonly public?: string | false | undefined;
  readonly enroll?: string | false | undefined;
}

export class Addresses {
  readonly listen: ListenAddress;
  readonly public: ListenAddress | false;
  readonly enroll: ListenAddress | false;
  /** Set once a listener has its port. */
  readonly bound: { listen?: ListenAddress; public?: ListenAddress; enroll?: ListenAddress } = {};
  readonly #configured: Config['gateway'];

  /** @throws SallyportError `ERR_USAGE` */
  constructor(configured: Config['gateway'], overrides: AddressOverrides) {
    this.#configured = configured;
    this.listen = overrides.listen === undefined ? configured.listen : addressOf(overrides.listen);
    this.public = overridden(overrides.public, configured.public);
    this.enroll = overridden(overrides.enroll, configured.enroll);
  }

  get url(): string {
    const { listen } = this.bound;
    return listen === undefined || listen.port === this.#configured.listen.port ? this.#configured.url : withPort(this.#configured.url, listen.port);
  }

  get publicUrl(): string | undefined {
    return this.bound.public === undefined ? undefined : `http://${formatListenAddress(this.bound.public)}`;
  }

  get enrollUrl(): string | undefined {
    if (this.enroll === false) return undefined;
    const configured = this.#configured.enrollUrl ?? `https://${formatListenAddress(this.enroll)}`;
    const { enroll } = this.bound;
    return enroll === undefined || (this.#configured.enroll !== false && enroll.port === this.#configured.enroll.port) ? configured : withPort(configured, enroll.port);
  }
}

const addressOf = (text: string): ListenAddress => {
  const address = parseListenAddress(text);
  if (address === undefined) throw new SallyportError('ERR_USAGE', `${JSON.stringify(text)} is not an address to listen on: write host:port, such as localhost:8443 or [::1]:8443`);
  return address;
};

const overridden = (given: string | false | undefined, configured: ListenAddress | false): ListenAddress | false =>
  given === undefined ? configured : given === false ? false : addressOf(given);

const withPort = (url: string, port: number): string => {
  const changed = new URL(url);
  changed.port = String(port);
  return changed.origin;
};
