/** What the gateway trusts and shows at an upstream, from files that may change while it runs. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { parsePrivateKey, readPrivateKey } from '../../ca/index.ts';
import { SallyportError } from '../errors.ts';
import { connectionOptions } from '../upstream/http-health.ts';
import type { FollowTls, HttpUpstreamTls } from '../upstream/http-tls.ts';
import type { UpstreamLog } from '../upstream/upstream-log.ts';
import { watchFiles } from './watch-files.ts';

export interface UpstreamTlsSource {
  /** PEM texts, or files relative to the data directory. */
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly serverName?: string | undefined;
}

export interface UpstreamTlsWorld {
  readonly upstream: string;
  readonly directory: string;
  readonly log: UpstreamLog;
}

/** @throws SallyportError `ERR_CONFIG_INVALID`, CaError `ERR_KEY_*` */
export const readUpstreamTls = async ({ ca, cert, key, serverName }: UpstreamTlsSource, world: UpstreamTlsWorld): Promise<HttpUpstreamTls> => {
  const [caPem, certPem, keyPem] = await Promise.all([textOf('ca', ca, world), textOf('cert', cert, world), key === undefined || isPem(key) ? key : keyFrom(key, world)]);
  const tls = { ca: caPem, cert: certPem, key: keyPem, serverName };
  check(tls, world.upstream);
  return tls;
};

/** Undefined when there is no file to follow. */
export const followUpstreamTls = (source: UpstreamTlsSource, world: UpstreamTlsWorld): FollowTls | undefined => {
  const files = [source.ca, source.cert, source.key].flatMap((one) => (one === undefined || isPem(one) ? [] : [resolve(world.directory, one)]));
  if (files.length === 0) return undefined;
  return (onChange) => {
    // Of two changes the one that was read last must win.
    let reading = Promise.resolve();
    return watchFiles(files, () => {
      reading = reading.then(async () => {
        try {
          onChange(await readUpstreamTls(source, world));
          world.log.info({ upstream: world.upstream }, 'upstream certificates reloaded');
        } catch (error) {
          world.log.warn({ upstream: world.upstream, error }, 'upstream certificates could not be reloaded: the last good ones stay in use');
        }
      });
    });
  };
};

const isPem = (text: string): boolean => text.includes('-----BEGIN ');

const textOf = async (what: 'ca' | 'cert', given: string | undefined, { upstream, directory }: UpstreamTlsWorld): Promise<string | undefined> => {
  if (given === undefined || isPem(given)) return given;
  const file = resolve(directory, given);
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw invalid(`tls.${what} of upstream ${upstream}, ${file}, cannot be read: check path, owner and mode`, { upstream, file }, cause);
  }
};

/** Refused when others may read it, like every private key. */
const keyFrom = async (path: string, { directory }: UpstreamTlsWorld): Promise<string> =>
  (await readPrivateKey(resolve(directory, path))).export({ type: 'pkcs8', format: 'pem' }).toString();

const check = ({ ca, cert, key }: HttpUpstreamTls, upstream: string): void => {
  if (ca !== undefined) certificateIn('ca', ca, upstream);
  const leaf = cert === undefined ? undefined : certificateIn('cert', cert, upstream);
  if ((leaf === undefined) !== (key === undefined)) throw invalid(`tls of upstream ${upstream} needs cert and key, or neither: name both`, { upstream });
  if (leaf !== undefined && key !== undefined && !leaf.checkPrivateKey(parsePrivateKey(key))) throw invalid(`tls.cert and tls.key of upstream ${upstream} do not belong together: replace both`, { upstream });
  try {
    createSecureContext(connectionOptions({ ca, cert, key }));
  } catch (cause) {
    throw invalid(`the TLS files of upstream ${upstream} cannot be used: replace them`, { upstream }, cause);
  }
};

const certificateIn = (what: 'ca' | 'cert', pem: string, upstream: string): X509Certificate => {
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw invalid(`tls.${what} of upstream ${upstream} holds no certificate in PEM: put one there`, { upstream }, cause);
  }
};

const invalid = (message: string, facts: Record<string, string>, cause?: unknown): SallyportError => new SallyportError('ERR_CONFIG_INVALID', message, { facts, cause });
