/** Reads sallyport.yaml: the only file reader of the configuration. */
import { readFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { CaError } from '../../ca/errors.ts';
import { createProfile } from '../../ca/profile.ts';
import { SallyportError } from '../errors.ts';
import { formatListenAddress, isLoopback, isWildcardHost } from './listen-address.ts';
import type { ListenAddress } from './listen-address.ts';
import { formatProblem, problemsOf } from './problems.ts';
import type { Problem } from './problems.ts';
import { configKeysAt, configSchema } from './schema.ts';
import type { ConfigFile, UpstreamConfig } from './schema.ts';
import { trustContradictions, trustFindings } from './trust-rules.ts';
import type { TrustAnchorConfig } from './trust-schema.ts';
import { upstreamContradictions, upstreamFindings } from './upstream-rules.ts';
import { YamlProblem, formatPath, parseYamlDocument } from './yaml-document.ts';
import type { ValuePath, YamlDocument } from './yaml-document.ts';

export const configFileName = 'sallyport.yaml';

/** Durations (`ca.defaultTtl` and the like) are milliseconds here. */
export interface Config extends Omit<ConfigFile, 'gateway' | 'upstreams' | 'trust'> {
  /** The data directory, absolute. */
  readonly directory: string;
  readonly gateway: Omit<ConfigFile['gateway'], 'url' | 'enrollUrl' | 'allowedHosts'> & {
    /** What agents dial, without path and trailing slash. */
    readonly url: string;
    /** Undefined when enrollment is off. */
    readonly enrollUrl: string | undefined;
    readonly allowedHosts: readonly string[];
  };
  readonly upstreams: ReadonlyMap<string, UpstreamConfig>;
  readonly trust: ReadonlyMap<string, TrustAnchorConfig>;
  /** Absolute. */
  readonly policyFile: string;
  /** With the SQLite file absolute. */
  readonly storeUrl: string;
  readonly findings: readonly ConfigFinding[];
}

export interface ConfigFinding {
  readonly key: string;
  readonly message: string;
}

export async function loadConfig(directory: string): Promise<Config> {
  const absolute = resolve(directory);
  const file = join(absolute, configFileName);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (isMissing(error)) throw new SallyportError('ERR_CONFIG_MISSING', `no ${configFileName} in ${absolute}: run sallyport init --dir ${directory}, or name the data directory with --dir`, { facts: { file }, cause: error });
    throw new SallyportError('ERR_CONFIG_INVALID', `${file} cannot be read: check its owner and mode`, { facts: { file }, cause: error });
  }
  return parseConfig(text, { directory: absolute, file });
}

/** Refuses with `ERR_CONFIG_INVALID`, one line of message for each problem. */
export function parseConfig(yamlText: string, options: { directory: string; file?: string }): Config {
  const file = options.file ?? configFileName;
  const document = readDocument(yamlText, file);
  const parsed = configSchema.safeParse(document.value ?? {});
  if (!parsed.success) throw invalid(file, problemsOf(parsed.error, document, configKeysAt), parsed.error);
  const contradictions = contradictionsIn(parsed.data, document);
  if (contradictions.length > 0) throw invalid(file, contradictions);
  return completed(parsed.data, options.directory);
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

function readDocument(text: string, file: string): YamlDocument {
  try {
    return parseYamlDocument(text);
  } catch (error) {
    if (error instanceof YamlProblem) throw invalid(file, [{ place: error.place, path: '', message: error.message }], error);
    throw error;
  }
}

function invalid(file: string, problems: readonly Problem[], cause?: unknown): SallyportError {
  const lines = problems.map((problem) => formatProblem(file, problem));
  const [first] = problems;
  return new SallyportError('ERR_CONFIG_INVALID', lines.join('\n'), {
    facts: { file, line: first?.place.line, column: first?.place.column, path: first?.path, problems: lines },
    cause,
  });
}

const longestGraceMs = 90 * 86_400_000;

function contradictionsIn(config: ConfigFile, document: YamlDocument): readonly Problem[] {
  const problems: Problem[] = [];
  const problem = (path: ValuePath, message: string): void => {
    problems.push({ place: document.locate(path), path: formatPath(path), message });
  };
  if (config.ca.defaultTtl > config.ca.maxTtl) problem(['ca', 'defaultTtl'], 'is longer than ca.maxTtl: shorten it, or raise maxTtl');
  for (const [name, profile] of Object.entries(config.ca.profiles)) {
    try {
      createProfile(name, withoutUndefined(profile));
    } catch (error) {
      if (!(error instanceof CaError)) throw error;
      const { key, why } = error.facts;
      problem(['ca', 'profiles', name, ...(key === undefined ? [] : [String(key)])], String(why ?? error.message));
    }
  }
  if (config.ca.acme.enabled && config.gateway.enroll === false) problem(['ca', 'acme', 'enabled'], 'is true, but gateway.enroll is false: ACME is served by the enrollment port');
  if (config.ca.renewalGrace > longestGraceMs) problem(['ca', 'renewalGrace'], 'must be at most 90d: whoever is away for longer enrolls again');
  if (config.ca.renewalGrace % 1_000 !== 0) problem(['ca', 'renewalGrace'], 'must be whole seconds');
  const taken = new Map<string, string>();
  for (const key of ['listen', 'public', 'enroll'] as const) {
    const address = config.gateway[key];
    if (address === false || address.port === 0) continue;
    const text = formatListenAddress(address);
    const other = taken.get(text);
    if (other !== undefined) problem(['gateway', key], `is ${text}, as gateway.${other} is: give each listener its own port`);
    taken.set(text, key);
  }
  if (config.gateway.enroll === false && config.gateway.enrollUrl !== undefined) problem(['gateway', 'enrollUrl'], 'is set, but gateway.enroll is false: remove one');
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    if ('url' in upstream) for (const { key, message } of upstreamContradictions(upstream, config.gateway)) problem(['upstreams', name, ...key], message);
  }
  for (const { key, message } of trustContradictions(config.trust, config.trustDomain)) problem(['trust', ...key], message);
  if (config.publicUrl === undefined && config.ca.crl.partitions > 1) problem(['ca', 'crl', 'partitions'], 'needs publicUrl: a certificate names the CRL that speaks about it by its address');
  if (config.publicUrl === undefined && config.ca.crl.delta) problem(['ca', 'crl', 'delta'], 'needs publicUrl: a complete CRL names its delta CRL by its address');
  if (config.publicUrl !== undefined && config.gateway.public === false) problem(['publicUrl'], 'is set, but gateway.public is false: certificates would name an address where nothing answers');
  return problems;
}

type WithoutUndefined<T> = { [Key in keyof T]: Exclude<T[Key], undefined> };

/** A key that is absent is not one that is undefined. */
export const withoutUndefined = <T extends object>(object: T): WithoutUndefined<T> => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as WithoutUndefined<T>;

function completed(file: ConfigFile, directory: string): Config {
  const { listen, enroll } = file.gateway;
  const url = file.gateway.url ?? `https://${dialable(listen)}`;
  const enrollUrl = enroll === false ? undefined : (file.gateway.enrollUrl ?? `https://${dialable(enroll, URL.parse(url)?.hostname)}`);
  return {
    ...file,
    directory,
    gateway: { ...file.gateway, url, enrollUrl, allowedHosts: file.gateway.allowedHosts ?? hostsOf([url, enrollUrl], listen) },
    upstreams: new Map(Object.entries(file.upstreams)),
    trust: new Map(Object.entries(file.trust)),
    policyFile: resolve(directory, file.policy),
    storeUrl: absoluteStore(file.store, directory),
    findings: findingsOf(file),
  };
}

/** Nobody dials 0.0.0.0: then the name agents use otherwise, or localhost. */
const dialable = ({ host, port }: ListenAddress, instead = 'localhost'): string => (isWildcardHost(host) ? `${instead}:${port}` : formatListenAddress({ host, port }));

function hostsOf(urls: readonly (string | undefined)[], listen: ListenAddress): readonly string[] {
  const hosts = urls.flatMap((url) => URL.parse(url ?? '')?.hostname ?? []);
  if (!isWildcardHost(listen.host)) hosts.push(listen.host.includes(':') ? `[${listen.host}]` : listen.host.toLowerCase());
  if (isLoopback(listen.host) || isWildcardHost(listen.host)) hosts.push('localhost', '127.0.0.1', '[::1]');
  return [...new Set(hosts)];
}

function absoluteStore(store: string, directory: string): string {
  if (!store.startsWith('sqlite:')) return store;
  const path = store.slice('sqlite:'.length);
  return path === ':memory:' || isAbsolute(path) ? store : `sqlite:${join(directory, path)}`;
}

function findingsOf(config: ConfigFile): readonly ConfigFinding[] {
  const findings: ConfigFinding[] = [];
  const { public: publicListener, minTlsVersion, url, listen } = config.gateway;
  if (publicListener !== false && !isLoopback(publicListener.host)) findings.push({ key: 'gateway.public', message: `${formatListenAddress(publicListener)} answers plain HTTP to other machines: CRLs, OCSP answers and certificates only, but make sure that is meant` });
  if (minTlsVersion === 'TLSv1.2') findings.push({ key: 'gateway.minTlsVersion', message: 'TLS 1.2 shows the certificates of agents to the network: set TLSv1.3 once every agent speaks it' });
  if (url === undefined && isWildcardHost(listen.host)) findings.push({ key: 'gateway.url', message: 'agents are told to dial localhost: set gateway.url to the name they reach the gateway by' });
  for (const [name, upstream] of Object.entries(config.upstreams)) {
    if ('url' in upstream) for (const message of upstreamFindings(upstream)) findings.push({ key: `upstreams.${name}`, message });
  }
  findings.push(...trustFindings(config.trust));
  const { enabled, dangerouslyHttpPort, dangerouslyTlsPort, dnsSuffixes, ipRanges } = config.ca.acme;
  if (enabled && dangerouslyHttpPort !== undefined) findings.push({ key: 'ca.acme.dangerouslyHttpPort', message: `http-01 connects to port ${dangerouslyHttpPort}: whoever may listen there on a host gets certificates for it` });
  if (enabled && dangerouslyTlsPort !== undefined) findings.push({ key: 'ca.acme.dangerouslyTlsPort', message: `tls-alpn-01 connects to port ${dangerouslyTlsPort}: whoever may listen there on a host gets certificates for it` });
  if (enabled && dnsSuffixes.length + ipRanges.length === 0) findings.push({ key: 'ca.acme.dnsSuffixes', message: 'neither names nor addresses may be ordered: servers get no certificates by ACME, agents do' });
  if (config.audit.arguments === 'full') findings.push({ key: 'audit.arguments', message: 'the audit log keeps tool arguments in full, secrets in them included' });
  return findings;
}
