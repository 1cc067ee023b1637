/** CRLs: those in the store, and those that others fetch. */
import { crlPath, scopeName, wholeScope } from '../../ca/crl-scope.ts';
import { namedScopes } from '../../ca/crl-series.ts';
import type { CaStore, CrlScope, IssuerName } from '../../ca/index.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { formatName } from '../../ca/x509/name.ts';
import { parseCrl, verifyCrl } from '../../ca/x509/crl.ts';
import type { Crl } from '../../ca/x509/crl.ts';
import type { Config } from '../config/load.ts';
import { isWildcardHost } from '../config/listen-address.ts';
import { attempt, fail, pass, skip, warn } from './check.ts';
import type { Finding } from './check.ts';

export const examineStoredCrls = async (store: Pick<CaStore, 'crlStates' | 'crlSeries' | 'latestCrl'>, which: IssuerName, issuer: Certificate, now: () => Date, key: 'here' | 'elsewhere' = 'here'): Promise<Finding> => {
  const next = key === 'here' ? `sallyport crl --ca ${which} --publish` : importNext(issuer);
  const states = await store.crlStates(issuer.spkiHash);
  const present = new Set(states.map(({ scope }) => scopeName(scope)));
  const missing = namedScopes(await store.crlSeries(issuer.spkiHash), states, now()).find((scope) => !present.has(scopeName(scope)));
  // The gateway knows from the store whom it revoked; verifiers that check the whole chain need the CRL.
  if (missing !== undefined && key === 'elsewhere') return warn(`there is none of ${formatName(issuer.subject)}`, next);
  if (missing !== undefined) return fail(missing.partitions === 1 ? 'there is none' : `there is none of partition ${scopeName(missing)}`, next);
  const findings: Finding[] = [];
  for (const { scope } of states) {
    const latest = await store.latestCrl(issuer.spkiHash, { scope });
    // Looked at after it was read: a gateway may have published it this very moment.
    const finding = latest === undefined ? fail('there is none', next) : await examineCrl(latest.der, which, issuer, now(), key);
    findings.push(scope.partitions === 1 ? finding : { ...finding, detail: `partition ${scopeName(scope)}: ${finding.detail}` });
  }
  const [first, ...more] = findings;
  if (first === undefined) return fail('there is none', next);
  const revoked = states.reduce((sum, { entries }) => sum + entries, 0);
  return worstOf(findings) ?? (more.length === 0 ? first : pass(`${findings.length} of them, ${revoked} revoked, until ${new Date(Math.min(...states.map(({ nextUpdate }) => nextUpdate.getTime()))).toISOString()}`));
};

const worstOf = <F extends Finding>(findings: readonly F[]): F | undefined => findings.find(({ outcome }) => outcome === 'fail') ?? findings.find(({ outcome }) => outcome === 'warn');

const importNext = (issuer: Certificate): string => `get the CRL of ${formatName(issuer.subject)} from where its key is, and: sallyport ca import-crl FILE`;

export const examineCrl = (der: Uint8Array, which: IssuerName, issuer: Certificate, now: Date, key: 'here' | 'elsewhere' = 'here'): Promise<Finding> =>
  attempt(() => {
    const next = key === 'elsewhere' ? importNext(issuer) : `start the gateway, which rebuilds CRLs by itself, or: sallyport crl --ca ${which} --publish`;
    let crl: Crl;
    try {
      crl = parseCrl(der);
      verifyCrl(crl, issuer, { at: now });
    } catch (error) {
      return fail(error instanceof Error ? error.message : String(error), next);
    }
    const { thisUpdate, nextUpdate, crlNumber, entryCount } = crl;
    const age = (now.getTime() - thisUpdate.getTime()) / ((nextUpdate?.getTime() ?? 0) - thisUpdate.getTime());
    const words = `number ${crlNumber ?? 'unknown'}, ${entryCount} revoked, until ${nextUpdate?.toISOString() ?? 'unknown'}`;
    // A running gateway rebuilds at half of its life.
    return age > 0.75 ? warn(words, next) : pass(words);
  });

export interface PublishedOptions {
  /** Base URL; undefined when the public listener is off, or its address is not known. */
  readonly baseUrl: string | undefined;
  readonly issuers: ReadonlyMap<IssuerName, Certificate>;
  /** Which CRLs each has. Default: one of everything. */
  readonly scopes?: ReadonlyMap<IssuerName, readonly CrlScope[]>;
  readonly now: () => Date;
  readonly timeoutMs: number;
}

/** As relying parties elsewhere get them. */
export const examinePublishedCrls = async ({ baseUrl, issuers, scopes, now, timeoutMs }: PublishedOptions): Promise<Finding> => {
  if (baseUrl === undefined) return skip('there is no public listener');
  const findings = await Promise.all(
    [...issuers]
      .flatMap(([which, issuer]) => (scopes?.get(which) ?? [wholeScope]).map((scope) => ({ which, issuer, scope })))
      .map(async ({ which, issuer, scope }): Promise<Finding & { readonly url: string }> => {
        const url = `${baseUrl}/crl/${crlPath(which, scope)}`;
        return { url, ...(await fetched(url, timeoutMs, async (der) => examineCrl(der, which, issuer, now()))) };
      }),
  );
  const worst = worstOf(findings);
  const shown = findings.length > 4 ? `${findings.slice(0, 3).map(({ url }) => url).join(', ')} and ${findings.length - 3} more` : findings.map(({ url }) => url).join(', ');
  return worst === undefined ? pass(shown) : { outcome: worst.outcome, detail: `${worst.url}: ${worst.detail}`, ...(worst.next === undefined ? {} : { next: worst.next }) };
};

/** The address in certificates when there is one, since that is what others use. */
export const publicBaseUrl = (config: Pick<Config, 'publicUrl' | 'gateway'>): string | undefined => {
  const { public: listener } = config.gateway;
  if (config.publicUrl !== undefined) return config.publicUrl;
  if (listener === false || listener.port === 0) return undefined;
  const host = isWildcardHost(listener.host) ? 'localhost' : listener.host;
  return `http://${host.includes(':') ? `[${host}]` : host}:${listener.port}`;
};

const fetched = async (url: string, timeoutMs: number, judge: (der: Uint8Array) => Promise<Finding>): Promise<Finding> => {
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs), redirect: 'error' });
    if (response.status === 200) return await judge(await response.bytes());
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : error instanceof Error ? error.message : String(error);
    return fail(`not reachable (${why})`, 'see gateway.public and publicUrl in sallyport.yaml, and start the gateway with its public listener');
  }
  return fail(`answered HTTP ${response.status}`, 'see what answers there: it should be the public listener of the gateway');
};
