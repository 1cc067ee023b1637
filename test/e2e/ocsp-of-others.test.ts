/** Certificates of other authorities whose only word on revocation is a real responder: OpenSSL's. */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeOcspNoCheck, EXTENDED_KEY_USAGE } from '../../ca/x509/extension.ts';
import { createGateway } from '../../src/index.ts';
import type { RunningGateway } from '../../src/index.ts';
import { createLogger } from '../../src/app/log.ts';
import { attempt, openStream } from '../../src/demo/stranger.ts';
import { isFaultyRuntime } from '../../src/tls/known-runtimes.ts';
import { Workplace } from '../cli/run.ts';
import { TurnableClock } from '../support/authority.ts';
import type { TestGateway } from '../support/gateway.ts';
import { callMessage, openSession, textIn } from '../support/gateway-requests.ts';
import { createV1Handler } from '../support/mcp-servers/v1-http.ts';
import { createTestPki } from '../support/pki.ts';
import type { TestIdentity, TestPki } from '../support/pki.ts';

const runs = spawnSync('openssl', ['version']).error === undefined && !isFaultyRuntime(process.version);
if (!runs) console.warn('skipped: a gateway that asks the OCSP responder of OpenSSL needs openssl, and a Node.js that hands on the chain that peers send');

const place = await Workplace.make();
const clock = new TurnableClock();
const server = createV1Handler();
let gateway: RunningGateway;

/** `openssl ocsp` for one CA, at the same port each time, answering as a delegate of the CA. */
class Responder {
  readonly #name: string;
  readonly #states = new Map<string, 'V' | 'R'>();
  port = 0;
  #child: ChildProcess | undefined;

  constructor(name: string, { issuing }: TestPki) {
    this.#name = name;
    const signer = issuing.leaf({ commonName: 'responder', names: {}, extendedKeyUsage: [EXTENDED_KEY_USAGE.OCSPSigning], furtherExtensions: [encodeOcspNoCheck()] });
    writeFileSync(this.#path('ca.pem'), issuing.certPem);
    writeFileSync(this.#path('signer.pem'), signer.certPem + signer.keyPem);
  }

  /** Starts, or starts again. */
  async says(state: 'V' | 'R', ...identities: readonly TestIdentity[]): Promise<void> {
    await this.stop();
    for (const { certificate } of identities) this.#states.set(certificate.serial.toUpperCase(), state);
    const lines = [...this.#states].map(([serial, each]) => `${each}\t400101000000Z\t${each === 'R' ? '250101000000Z,keyCompromise' : ''}\t${serial}\tunknown\t/CN=${serial}\n`);
    writeFileSync(this.#path('index.txt'), lines.join(''));
    const child = spawn('openssl', ['ocsp', '-port', String(this.port), '-index', this.#path('index.txt'), '-CA', this.#path('ca.pem'), '-rsigner', this.#path('signer.pem')], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text: Buffer) => { said += text.toString('latin1'); });
    while (!/ACCEPT \S+:\d+/.test(said)) {
      await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => { throw new Error(`openssl ocsp ended: ${said}`); })]);
    }
    this.port = Number(/ACCEPT \S+:(\d+)/.exec(said)?.[1]);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  #path(file: string): string {
    return place.path(`${this.#name}-${file}`);
  }
}

const [corp, partner, lax] = [createTestPki('Corp'), createTestPki('Partner'), createTestPki('Lax')];
const [alice, bob, late, nobody] = ['alice', 'bob', 'late', 'nobody'].map((commonName) => corp.issuing.leaf({ commonName, names: { dnsNames: [commonName] } })) as [TestIdentity, TestIdentity, TestIdentity, TestIdentity];
const [carol, afterwards] = ['carol', 'afterwards'].map((commonName) => partner.issuing.leaf({ commonName, names: { dnsNames: [commonName] } })) as [TestIdentity, TestIdentity];
const [dave, gone] = ['dave', 'gone'].map((commonName) => lax.issuing.leaf({ commonName, names: { dnsNames: [commonName] } })) as [TestIdentity, TestIdentity];
const responders = { corp: new Responder('corp', corp), partner: new Responder('partner', partner), lax: new Responder('lax', lax) };

beforeAll(async () => {
  if (!runs) return;
  await Promise.all([responders.corp.says('V', alice, bob, late), responders.partner.says('V', carol, afterwards), responders.lax.says('R', gone)]);
  await place.run('init', '--dir', 'port', '--name', 'Acme', '--trust-domain', 'acme.internal');
  const anchor = (name: keyof typeof responders, pki: TestPki, rest = ''): string => {
    writeFileSync(place.path('port', `${name}-root.pem`), pki.root.certPem);
    writeFileSync(place.path('port', `${name}-issuing.pem`), pki.issuing.certPem);
    return `  ${name}: { anchors: [${name}-root.pem], issuers: [${name}-issuing.pem], identity: { from: commonName }, ocsp: { url: "http://127.0.0.1:${responders[name].port}", nonce: required }${rest} }\n`;
  };
  const config = readFileSync(place.path('port', 'sallyport.yaml'), 'utf8').replace(/^upstreams:[\s\S]*?(?=^\S|\s*$(?![\s\S]))/mu, '');
  writeFileSync(place.path('port', 'sallyport.yaml'), `${config}\ntrust:\n${anchor('corp', corp)}${anchor('partner', partner, ', dangerouslyAcceptStaleFor: 2h')}${anchor('lax', lax, ', dangerouslyAcceptUnknownStatus: true')}`);
  writeFileSync(place.path('port', 'policy.yaml'), 'roles: { all: { grants: [{ upstream: "*", tools: [echo] }] } }\nbindings: [{ role: all, when: { trust: [corp, partner, lax] } }]\n');
  gateway = await createGateway({ directory: place.path('port'), listen: '127.0.0.1:0', public: false, enroll: false, clock, logger: createLogger({ level: 'silent' }), upstreams: { echo: { handler: server.handle } } });
  await gateway.listen();
});
afterAll(async () => {
  await Promise.all(Object.values(responders).map((each) => each.stop()));
  await server.close();
  await place.remove();
});

const rootPem = (): string => readFileSync(place.path('port', 'certs', 'root.cert.pem'), 'utf8');
const credentials = (identity: TestIdentity) => ({ ca: rootPem(), cert: identity.chainPem, key: identity.keyPem });
const url = (): string => `${gateway.url}/mcp`;
/** What the tool says, or why there is none. */
const use = async (identity: TestIdentity): Promise<string> => {
  const { status, code } = await attempt(url(), credentials(identity));
  if (status !== 200) return `${status} ${code}`;
  const at = { port: Number(new URL(url()).port), url: new URL(url()), pki: { root: { certPem: rootPem() } } } as unknown as TestGateway;
  const { status: answered, answer } = await (await openSession(at, identity)).post(callMessage(1, 'echo', { text: 'hello' }));
  return `${answered} ${textIn(answer)}`;
};

describe.skipIf(!runs)('an anchor whose OCSP responder is the one of OpenSSL', { timeout: 30_000 }, () => {
  it('lets in whom it says to be good, and nobody whom it says to be revoked or does not know', async () => {
    expect(await Promise.all([alice, bob, nobody, carol, dave, gone].map(use))).toEqual(['200 hello', '200 hello', '403 ERR_PEER_STATUS_UNKNOWN', '200 hello', '200 hello', '403 ERR_PEER_REVOKED']);
  });

  it('cuts a certificate that is revoked later, once its answer is due again', async () => {
    const stream = await openStream(url(), credentials(alice));
    await responders.corp.says('R', alice);
    // An answer without an end holds for a minute, and is asked for again after half of it.
    expect(await use(alice)).toBe('200 hello');
    clock.turn(31);
    // Whoever comes now makes it due; what comes of this very request depends on who is faster.
    await attempt(url(), credentials(alice));
    await stream.ended;
    expect(await use(alice)).toBe('403 ERR_PEER_REVOKED');
    expect(await use(bob)).toBe('200 hello');
  });

  it('refuses when nobody answers any more, but for what the configuration allows', async () => {
    await Promise.all(Object.values(responders).map((each) => each.stop()));
    // What was said holds until it ends; of whom nothing was said nobody knows, lent time or not.
    expect(await Promise.all([bob, late, carol, afterwards].map(use))).toEqual(['200 hello', '403 ERR_PEER_STATUS_UNKNOWN', '200 hello', '403 ERR_PEER_STATUS_UNKNOWN']);
    const newcomer = lax.issuing.leaf({ commonName: 'newcomer', names: { dnsNames: ['newcomer'] } });
    const everybody = [alice, bob, carol, dave, newcomer, gone];
    clock.turn(61);
    expect(await Promise.all(everybody.map(use))).toEqual(['403 ERR_PEER_REVOKED', '403 ERR_PEER_STATUS_UNKNOWN', '200 hello', '200 hello', '200 hello', '403 ERR_PEER_REVOKED']);
    clock.turn(7_200);
    expect(await Promise.all(everybody.map(use))).toEqual(['403 ERR_PEER_REVOKED', '403 ERR_PEER_STATUS_UNKNOWN', '403 ERR_PEER_STATUS_UNKNOWN', '200 hello', '200 hello', '403 ERR_PEER_REVOKED']);
    // And back again, without a restart.
    await Promise.all([responders.corp.says('V'), responders.partner.says('V')]);
    clock.turn(120);
    expect(await Promise.all([alice, bob, late, carol].map(use))).toEqual(['403 ERR_PEER_REVOKED', '200 hello', '200 hello', '200 hello']);
  });

  it('leaves word of it in the audit log', async () => {
    await gateway.close({ drainMs: 0 });
    const { stdout } = await place.run('audit', 'tail', '--dir', 'port', '--json', '-n', '200');
    const entries = stdout.trim().split('\n').map((line) => JSON.parse(line) as { action: string; reason?: string; serial?: string });
    const said = (action: string, { certificate }: TestIdentity) => new Set(entries.filter((entry) => entry.action === action && entry.serial === certificate.serial).map(({ reason }) => reason));
    expect(said('connection.cut', alice)).toEqual(new Set(['ERR_PEER_REVOKED']));
    expect(said('handshake.refused', alice)).toEqual(new Set(['ERR_PEER_REVOKED']));
    expect(said('handshake.refused', bob)).toEqual(new Set(['ERR_PEER_STATUS_UNKNOWN']));
  });
});
