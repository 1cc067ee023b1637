/**
 * Proves by effect that the gate of a running gateway is shut, and that what it stands on is sound.
 * Bounded: about three seconds, most of which is waiting for a certificate to expire.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, CrlScope, IssuerName, IssuerRole, Randomness } from '../../ca/index.ts';
import { certificateFile, exists, firstList, keyFile, readHierarchyList } from '../../ca/hierarchy-files.ts';
import { isTrusted } from '../../ca/issuer.ts';
import { parseCertificate } from '../../ca/x509/certificate.ts';
import type { Certificate } from '../../ca/x509/certificate.ts';
import { decodePem } from '../../ca/x509/pem.ts';
import { filesIn, openDeployment, openForReading, readVerifierKey } from '../app/deployment.ts';
import type { Deployment } from '../app/deployment.ts';
import { openTrustView } from '../app/trust-view.ts';
import { explainFailure } from '../bridge/explain.ts';
import { configFileName, loadConfig } from '../config/load.ts';
import type { Config } from '../config/load.ts';
import { codeOf, SallyportError } from '../errors.ts';
import { fetchDocument } from '../revocation/fetch-document.ts';
import type { Store } from '../store/store.ts';
import { examineAnchors } from './anchors.ts';
import { attempt, checkIds, checkOf, fail, failedWith, pass, skip, warn } from './check.ts';
import type { Check, CheckId, Finding } from './check.ts';
import { examinePublishedCrls, examineStoredCrls, publicBaseUrl } from './crls.ts';
import { approach } from './encounter.ts';
import type { Encounter, Target } from './encounter.ts';
import { examineAudit } from './evidence.ts';
import { examineKeyModes, examineLife, examineWriters } from './files.ts';
import { examineGate, gateChecks } from './gate.ts';
import { examineConfiguration, examinePolicy } from './rules.ts';
import { examineKeyExchange } from './key-exchange.ts';
import { examineRuntime } from './runtime.ts';
import { throwAwayProfiles } from './throw-away.ts';

export interface DoctorOptions {
  readonly directory: string;
  /** Of the private keys, when they are encrypted. */
  readonly passphrase?: string | undefined;
  /** What agents dial. Default: `gateway.url`. */
  readonly url?: string | undefined;
  /** Base URL of the public listener. Default: `publicUrl`, else the address of `gateway.public`. */
  readonly publicUrl?: string | undefined;
  /** Who asks, for the audit log: `cli:<os user>`. */
  readonly actor: string;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Default: those of this process. */
  readonly platform?: NodeJS.Platform;
  readonly runtime?: string;
}

export interface DoctorReport {
  /** No check failed. */
  readonly ok: boolean;
  readonly url: string;
  readonly checks: readonly Check[];
}

/** For one connection or fetch. */
const timeoutMs = 1_500;

/** @throws SallyportError `ERR_CONFIG_*` without a configuration to examine, CaError `ERR_KEY_PASSPHRASE` without the right passphrase */
export const runDoctor = async (options: DoctorOptions): Promise<DoctorReport> => {
  const config = await loadConfig(options.directory);
  const url = gatewayUrl(options.url ?? config.gateway.url);
  const certificates = await readCertificates(config.directory);
  const opened = await openUp(config, options);
  try {
    const findings = new Map<CheckId, Finding>();
    const note = async (id: CheckId, examine: () => Finding | Promise<Finding>): Promise<void> => {
      findings.set(id, await attempt(examine));
    };
    const now = options.clock.now();
    const platform = options.platform ?? process.platform;
    const target: Target = { url, root: certificates.rootPem ?? '', timeoutMs };
    let first: Encounter | undefined;
    // Before the gate is tried, whose revocations lead to new CRLs and more audit entries.
    await Promise.all([
      note('dataDirectory', () => opened.finding),
      note('keyModes', () => examineKeyModes(config.directory, platform)),
      ...certificateChecks(certificates, now).map(([id, finding]) => note(id, () => finding)),
      ...storeChecks(opened.store, certificates, config, options.clock).map(([id, examine]) => note(id, examine)),
      note('configuration', async () => (await examineWriters(join(config.directory, configFileName), platform)) ?? examineConfiguration(config)),
      note('otherAuthorities', async () => {
        if (config.trust.size === 0) return examineAnchors({ anchors: [], problems: new Map(), now });
        const { foreign } = await openTrustView(config.directory, { ...options, fetch: (wanted) => fetchDocument({ ...wanted, timeoutMs }) });
        const problems = await foreign.refresh();
        foreign.close();
        return examineAnchors({ anchors: foreign.state, problems, now: options.clock.now() });
      }),
      note('policy', async () => (await examineWriters(config.policyFile, platform)) ?? examinePolicy(config.policyFile)),
      note('runtime', () => examineRuntime(options.runtime ?? process.version)),
      note('gateway', async () => {
        first = await approach(target);
        return judgeGateway(first, url, certificates.server);
      }),
    ]);
    await note('keyExchange', () => (first === undefined || first.verdict.kind === 'unreachable' ? skip('the gateway is not running') : examineKeyExchange(first.group)));
    const publicUrl = options.publicUrl ?? publicBaseUrl(config);
    const running = first !== undefined && first.verdict.kind !== 'unreachable';
    const ours = running && findings.get('gateway')?.outcome !== 'fail';
    await note('publishedCrls', async () => {
      if (!running) return skip('the gateway is not running');
      const issuers = new Map(certificates.trusted.flatMap(({ name, certificate }) => (certificate === undefined ? [] : [[name, certificate] as const])));
      if (issuers.size < certificates.trusted.length) return skip('the CA certificates cannot be read');
      const scopes = new Map<string, readonly CrlScope[]>();
      const { store } = opened;
      if (store !== undefined) for (const [name, { spkiHash }] of issuers) scopes.set(name, (await store.ca.crlStates(spkiHash)).map(({ scope }) => scope));
      return examinePublishedCrls({ baseUrl: publicUrl, issuers, scopes, now: () => options.clock.now(), timeoutMs });
    });
    if (first === undefined || !ours) for (const id of gateChecks) findings.set(id, skip(running ? 'what answers is not this gateway' : 'the gateway is not running'));
    else {
      const gate = { ...options, passphrase: options.passphrase, target, config, authority: opened.deployment?.authority, issuingKeyFile: keyFile(config.directory, certificates.issuingName) };
      for (const [id, finding] of await examineGate(gate, first)) findings.set(id, finding);
    }
    const checks = checkIds.map((id) => checkOf(id, findings.get(id) ?? skip('not examined')));
    return { ok: checks.every(({ outcome }) => outcome !== 'fail'), url: url.href, checks };
  } finally {
    await opened.close();
  }
};

const gatewayUrl = (text: string): URL => {
  const url = URL.parse(text);
  if (url === null || url.protocol !== 'https:') throw new SallyportError('ERR_USAGE', `${JSON.stringify(text)} is not an https URL: write it like https://localhost:8443`, { facts: { url: text } });
  return url;
};

interface Opened {
  readonly deployment: Deployment | undefined;
  readonly store: Store | undefined;
  readonly finding: Finding;
  close(): Promise<void>;
}

/** With its keys; without them what needs none is examined all the same. */
const openUp = async (config: Config, options: DoctorOptions): Promise<Opened> => {
  const { directory } = config;
  try {
    const deployment = await openDeployment(directory, { clock: options.clock, randomness: options.randomness, passphrase: options.passphrase, furtherProfiles: throwAwayProfiles });
    const { store } = deployment;
    const finding = await attempt(async () => pass(`${store.kind} store, ${await store.ca.countCertificates({})} certificates on record`));
    return { deployment, store, finding, close: () => deployment.close() };
  } catch (error) {
    if (codeOf(error) === 'ERR_KEY_PASSPHRASE') throw error;
    const reading = await openForReading(directory, options.clock).catch(() => undefined);
    return { deployment: undefined, store: reading?.store, finding: failedWith(error), close: async () => reading?.close() };
  }
};

interface CertificateFiles {
  readonly root: Certificate | undefined;
  readonly rootPem: string | undefined;
  readonly issuing: Certificate | undefined;
  readonly rootName: IssuerName;
  readonly issuingName: IssuerName;
  readonly server: Certificate | undefined;
  /** Every CA that is not retired, issuing CAs first. */
  readonly trusted: readonly { readonly name: IssuerName; readonly role: IssuerRole; readonly certificate: Certificate | undefined; readonly above: readonly Certificate[] }[];
  /** The data directory of a root that certifies CAs elsewhere, and nothing else. */
  readonly rootAlone: boolean;
}

const readCertificates = async (directory: string): Promise<CertificateFiles> => {
  const read = (file: string): Promise<string | undefined> => readFile(file, 'utf8').catch(() => undefined);
  // A list that cannot be read is reported with the data directory.
  const { issuers } = await readHierarchyList(directory).catch(() => firstList);
  const found = await Promise.all(issuers.filter(isTrusted).map(async (listed) => ({ ...listed, pem: await read(certificateFile(directory, listed.name)) })));
  const active = (role: IssuerRole) => found.find((each) => each.role === role && each.status === 'active');
  const roots = found.filter(({ role }) => role === 'root');
  return {
    root: leafOf(active('root')?.pem),
    rootPem: roots.every(({ pem }) => pem === undefined) ? undefined : roots.map(({ pem = '' }) => pem).join(''),
    issuing: leafOf(active('issuing')?.pem),
    rootName: active('root')?.name ?? 'root',
    issuingName: active('issuing')?.name ?? 'issuing',
    server: leafOf(await read(filesIn(directory).serverCertificate)),
    trusted: [...found.filter(({ role }) => role === 'issuing'), ...roots].map(({ name, role, pem }) => ({ name, role, certificate: leafOf(pem), above: role === 'root' ? [] : aboveIn(pem) })),
    rootAlone: found.every(({ role }) => role === 'root'),
  };
};

const aboveIn = (pem: string | undefined): readonly Certificate[] => {
  try {
    return pem === undefined ? [] : decodePem(pem, 'CERTIFICATE').slice(1).map(({ der }) => parseCertificate(der));
  } catch {
    return [];
  }
};

const leafOf = (pem: string | undefined): Certificate | undefined => {
  try {
    const [first] = pem === undefined ? [] : decodePem(pem, 'CERTIFICATE');
    return first === undefined ? undefined : parseCertificate(first.der);
  } catch {
    return undefined;
  }
};

const replaceServer = 'sallyport issue HOST --profile server --out ./server, then put its cert.pem and key.pem in the place of certs/server.cert.pem and keys/server.key.pem: a running gateway takes them up';

const certificateChecks = ({ server, issuing, root, issuingName, rootName, rootAlone }: CertificateFiles, now: Date): readonly (readonly [CheckId, Finding])[] => {
  const life = (certificate: Certificate | undefined, file: string, leastDays: number, renew: string): Finding =>
    certificate === undefined ? fail(`certs/${file} cannot be read`, 'restore it from a backup') : examineLife(certificate, now, { leastDays, renew });
  const replaceCa = (which: string): string => `prepare the next ${which}: sallyport ca rotate prepare ${which === 'root' ? 'root' : 'issuing'}`;
  return [
    ['serverCertificate', rootAlone ? skip('this is a root alone') : life(server, 'server.cert.pem', 0, replaceServer)],
    ['issuingCertificate', rootAlone ? skip('this is a root alone') : life(issuing, `${issuingName}.cert.pem`, 30, replaceCa('issuing CA'))],
    ['rootCertificate', life(root, `${rootName}.cert.pem`, 30, replaceCa('root'))],
  ];
};

const storeChecks = (store: Store | undefined, { trusted }: CertificateFiles, { directory }: Config, clock: Clock): readonly (readonly [CheckId, () => Finding | Promise<Finding>])[] => {
  const unreachable = (): Finding => skip('the store cannot be reached');
  if (store === undefined) return [['issuingCrl', unreachable], ['rootCrl', unreachable], ['audit', unreachable]];
  const crl = (which: IssuerRole) => async (): Promise<Finding> => {
    const findings = await Promise.all(
      trusted.filter(({ role }) => role === which).map(async ({ name, certificate }) => (certificate === undefined ? skip(`certs/${name}.cert.pem cannot be read`) : examineStoredCrls(store.ca, name, certificate, () => clock.now(), (await exists(keyFile(directory, name))) ? 'here' : 'elsewhere'))),
    );
    // Between root and issuing CA stand only CAs that are elsewhere.
    if (which === 'root') for (const { name, above } of trusted) findings.push(...(await Promise.all(above.map((certificate) => examineStoredCrls(store.ca, name, certificate, () => clock.now(), 'elsewhere')))));
    if (findings.length === 0) return skip('there is none here');
    return ['fail', 'warn', 'skip'].map((outcome) => findings.find((each) => each.outcome === outcome)).find((finding) => finding !== undefined) ?? pass(findings.map(({ detail }) => detail).join('; '));
  };
  return [
    ['issuingCrl', crl('issuing')],
    ['rootCrl', crl('root')],
    ['audit', async () => examineAudit({ store: store.audit, verifierKey: await readVerifierKey(directory), checkpointFile: filesIn(directory).auditCheckpoint })],
  ];
};

const judgeGateway = ({ verdict, server }: Encounter, url: URL, onDisk: Certificate | undefined): Finding => {
  if (verdict.kind === 'unreachable') return fail(`gateway not reachable at ${url.origin} (${verdict.why})`, 'start it with sallyport serve, or name its address with --url');
  if (server === undefined) return warn(`${url.origin} shows no certificate before it refuses: ${verdict.kind === 'refused' ? verdict.how : ''}`, 'see that it is the gateway that answers there');
  if (server.problem !== undefined) {
    const problem = typeof server.problem === 'string' ? Object.assign(new Error(server.problem), { code: server.problem }) : server.problem;
    return fail(`${url.origin} does not prove to be this gateway: ${explainFailure(problem, { url }).message}`, `see what answers there, or have a server certificate issued for ${url.hostname}`);
  }
  if (onDisk !== undefined && parseCertificate(server.der).thumbprint !== onDisk.thumbprint) {
    return warn(`${url.origin} shows another certificate than certs/server.cert.pem`, 'send SIGHUP to sallyport serve, or see which gateway answers there');
  }
  return pass(`at ${url.origin}, with the certificate of this data directory`);
};
