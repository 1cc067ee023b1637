/** What fits together in the configuration of an upstream reached by url. */
import { isLoopback } from './listen-address.ts';
import type { ConfigFile, UrlUpstreamConfig } from './schema.ts';

export interface UpstreamContradiction {
  /** Below the upstream. */
  readonly key: readonly string[];
  readonly message: string;
}

export const upstreamContradictions = ({ url, tls, credential, headers, identity }: UrlUpstreamConfig, gateway: Pick<ConfigFile['gateway'], 'public'>): readonly UpstreamContradiction[] => {
  const found: UpstreamContradiction[] = [];
  const problem = (key: readonly string[], message: string): void => void found.push({ key, message });
  if (tls !== undefined) {
    if (!url.startsWith('https:')) problem(['tls'], 'is set, but url is plain http: write https, or remove tls');
    if (tls.cert !== undefined && tls.key === undefined) problem(['tls', 'cert'], 'is set without tls.key: name its private key too');
    if (tls.key !== undefined && tls.cert === undefined) problem(['tls', 'key'], 'is set without tls.cert: name its certificate too');
  }
  if (credential !== undefined) {
    const { fromEnv, fromFile, onMissing, header } = credential;
    if ((fromEnv === undefined) === (fromFile === undefined)) problem(['credential'], 'must hold either fromEnv or fromFile');
    const placeholders = fromFile?.match(/\{[^{}]*\}/g) ?? [];
    if (placeholders.some((placeholder) => placeholder !== '{commonName}') || placeholders.length > 1) problem(['credential', 'fromFile'], 'may hold {commonName} once, and nothing else in braces');
    if (onMissing !== undefined && placeholders.length === 0) problem(['credential', 'onMissing'], 'is about credentials of single agents: put {commonName} into fromFile, or remove it');
    if (Object.keys(headers).some((name) => name.toLowerCase() === header.toLowerCase())) problem(['headers'], `holds ${header}, as the credential does: remove one`);
  }
  if (identity === 'signed' && gateway.public === false) problem(['identity'], 'is signed, but gateway.public is false: nobody could fetch the key that verifies it');
  return found;
};

/** What works, and shows secrets or identities to a network. */
export const upstreamFindings = ({ url, credential, headers, identity }: UrlUpstreamConfig): readonly string[] => {
  const { protocol, hostname } = new URL(url);
  if (protocol === 'https:' || isLoopback(hostname.replace(/^\[|\]$/g, ''))) return [];
  return [
    ...(credential !== undefined || Object.keys(headers).some((name) => /authorization|cookie|key|token|secret/i.test(name)) ? ['its credential goes over the network in plain http: give it an https url'] : []),
    ...(identity === 'headers' ? ['it learns who calls from headers that anyone on the network can write: give it an https url, or set identity to signed'] : []),
  ];
};
