/** An ACME server in this process, and a client of our own that can also say what no honest client says. */
import { createHmac, generateKeyPairSync, hash, sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { isAllowedBy, parseRange } from '../../ca/acme/address-range.ts';
import { createExternalAccount } from '../../ca/acme/external-accounts.ts';
import type { ExternalAccountRequest } from '../../ca/acme/external-accounts.ts';
import { isAllowedHost } from '../../ca/acme/identifiers.ts';
import { AcmeServer } from '../../ca/acme/server.ts';
import type { AcmeServerOptions } from '../../ca/acme/server.ts';
import type { AcmeSettings } from '../../ca/acme/world.ts';
import type { CreateAuthorityOptions } from '../../ca/authority-options.ts';
import { codeOf, present } from '../../src/errors.ts';
import { systemRandomness } from '../../src/system.ts';
import { createAuthority, newKey } from './authority.ts';
import type { AuthorityFixture } from './authority.ts';
import { createCsr } from '../../ca/x509/csr.ts';
import type { CsrOptions } from '../../ca/x509/csr.ts';

export const base = 'https://acme.test';

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Record<string, any>; // oxlint-disable-line typescript/no-explicit-any
  /** The short type of a problem. */
  readonly problem: string | undefined;
}

export interface AcmeFixture extends AuthorityFixture {
  readonly server: AcmeServer;
  /** Ports and addresses of names, which a test may set. */
  readonly hosts: Map<string, readonly string[]>;
  readonly secret: Uint8Array;
  readonly failures: unknown[];
  request(method: string, path: string, init?: { readonly body?: string; readonly type?: string; readonly address?: string }): Promise<Answer>;
  client(key?: KeyObject): AcmeClient;
  externalAccount(request?: Partial<ExternalAccountRequest>): Promise<{ readonly kid: string; readonly macKey: string }>;
  /** Another server on the same store, as another node would have. */
  another(options?: Partial<AcmeServerOptions>): AcmeFixture;
}

export interface AcmeFixtureOptions {
  readonly settings?: Partial<AcmeSettings>;
  readonly network?: Partial<AcmeServerOptions['network']>;
  readonly authority?: Partial<CreateAuthorityOptions>;
}

export const startAcme = async ({ settings = {}, network = {}, authority: options = {} }: AcmeFixtureOptions = {}): Promise<AcmeFixture> => {
  const fixture = await createAuthority(options);
  const { authority, store, clock } = fixture;
  const hosts = new Map<string, readonly string[]>();
  const secret = new Uint8Array(32).fill(7);
  const failures: unknown[] = [];
  const loopback = parseRange('127.0.0.0/8');
  const range = loopback === undefined ? [] : [loopback];
  const given: AcmeSettings = { profiles: ['server'], dnsSuffixes: ['acme.internal'], ipRanges: range, agentSuffix: 'agents.acme.internal', externalAccount: 'agents', termsOfService: undefined, website: undefined, ...settings };
  const resolve = async (name: string): Promise<readonly string[]> => {
    await Promise.resolve();
    const found = hosts.get(name);
    if (found === undefined) throw new Error('not found');
    return found;
  };
  const serverOf = (changes: Partial<AcmeServerOptions>): AcmeServer =>
    new AcmeServer({
      authority, store: store.acme, certificates: store.ca, clock, randomness: systemRandomness, secret, settings: given,
      network: { resolve, mayConnect: (address) => isAllowedBy(range, address), mayFollow: (host) => isAllowedHost(host, given), httpPort: 1, tlsPort: 1, timeoutMs: 5_000, ...network },
      pausesMs: [], base: () => base,
      present: (error) => ({ status: present(error).http, code: codeOf(error), message: present(error).public }),
      onError: (error) => failures.push(error),
      ...changes,
    });
  const fixtureOf = (server: AcmeServer): AcmeFixture => {
    const own: AcmeFixture = {
      ...fixture, server, hosts, secret, failures,
      request: async (method, path, { body, type = 'application/jose+json', address = '192.0.2.1' } = {}) => {
        const answer = await server.handle(new Request(`http://listener${path}`, { method, ...(body === undefined ? {} : { body, headers: { 'content-type': type } }) }), { address });
        const text = await answer.text();
        const json = answer.headers.get('content-type')?.includes('json') === true ? (JSON.parse(text) as Answer['body']) : {};
        const kind = typeof json['type'] === 'string' && answer.headers.get('content-type') === 'application/problem+json' ? json['type'].replace('urn:ietf:params:acme:error:', '') : undefined;
        return { status: answer.status, headers: answer.headers, text, body: json, problem: kind };
      },
      client: (key = newKey()) => new AcmeClient(own, key),
      externalAccount: async (request = {}) => {
        const { account, macKey } = await createExternalAccount({ authority, store: store.acme, clock, randomness: systemRandomness, secret }, { actor: 'cli:ada', ...request });
        return { kid: account.kid, macKey };
      },
      another: (changes = {}) => fixtureOf(serverOf(changes)),
      close: async () => {
        await server.close();
        await fixture.close();
      },
    };
    return own;
  };
  return fixtureOf(serverOf({}));
};

export interface SignOptions {
  readonly header?: Readonly<Record<string, unknown>>;
  readonly key?: KeyObject;
  readonly nonce?: string;
}

const encode = (value: unknown): string => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

const algorithmOf = (key: KeyObject): { readonly alg: string; readonly hash: string | null } => {
  if (key.asymmetricKeyType === 'ed25519') return { alg: 'EdDSA', hash: null };
  if (key.asymmetricKeyType === 'rsa') return { alg: 'RS256', hash: 'sha256' };
  return key.asymmetricKeyDetails?.namedCurve === 'secp384r1' ? { alg: 'ES384', hash: 'sha384' } : { alg: 'ES256', hash: 'sha256' };
};

export const jwkOf = (key: KeyObject): Record<string, unknown> => {
  const { d: _d, p: _p, q: _q, dp: _dp, dq: _dq, qi: _qi, ...jwk } = key.export({ format: 'jwk' });
  return jwk;
};

export const thumbprintOf = (key: KeyObject): string => hash('sha256', JSON.stringify(Object.fromEntries(Object.entries(jwkOf(key)).toSorted(([a], [b]) => (a < b ? -1 : 1)))), 'base64url');

export const jwsOf = (key: KeyObject, header: Readonly<Record<string, unknown>>, payload: unknown): { protected: string; payload: string; signature: string } => {
  const { alg, hash: digest } = algorithmOf(key);
  const head = encode({ alg, ...header });
  const body = payload === '' ? '' : encode(payload);
  return { protected: head, payload: body, signature: sign(digest, Buffer.from(`${head}.${body}`), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url') };
};

/** Each comes from an address of its own. */
let clients = 0;

export class AcmeClient {
  readonly key: KeyObject;
  readonly #fixture: AcmeFixture;
  /** URL of the account. */
  kid = '';
  address = `192.0.2.${(clients += 1) % 250}`;

  constructor(fixture: AcmeFixture, key: KeyObject) {
    this.#fixture = fixture;
    this.key = key;
  }

  async nonce(): Promise<string> {
    return (await this.#fixture.request('HEAD', '/acme/new-nonce', { address: this.address })).headers.get('replay-nonce') ?? '';
  }

  /** Signs with the account, or with the key when there is none yet. */
  async post(path: string, payload: unknown, { header = {}, key = this.key, nonce }: SignOptions = {}): Promise<Answer> {
    const who = this.kid === '' || 'jwk' in header ? { jwk: jwkOf(key) } : { kid: this.kid };
    const whole = { url: base + path, nonce: nonce ?? (await this.nonce()), ...who, ...header };
    return this.#fixture.request('POST', path, { body: JSON.stringify(jwsOf(key, whole, payload)), address: this.address });
  }

  get(url: string): Promise<Answer> {
    return this.post(url.replace(base, ''), '');
  }

  async register(payload: Readonly<Record<string, unknown>> = {}): Promise<Answer> {
    const answer = await this.post('/acme/new-account', { termsOfServiceAgreed: true, ...payload }, { header: { jwk: jwkOf(this.key) } });
    this.kid = answer.headers.get('location') ?? this.kid;
    return answer;
  }

  /** RFC 8555 §7.3.4. */
  binding({ kid, macKey }: { readonly kid: string; readonly macKey: string }, header: Readonly<Record<string, unknown>> = {}): Readonly<Record<string, unknown>> {
    const head = encode({ alg: 'HS256', kid, url: `${base}/acme/new-account`, ...header });
    const payload = encode(jwkOf(this.key));
    return { externalAccountBinding: { protected: head, payload, signature: createHmac('sha256', Buffer.from(macKey, 'base64url')).update(`${head}.${payload}`).digest('base64url') } };
  }

  order(...names: readonly (string | { readonly type: string; readonly value: string })[]): Promise<Answer> {
    return this.post('/acme/new-order', { identifiers: names.map((name) => (typeof name === 'string' ? { type: 'dns', value: name } : name)) });
  }

  /** Finalizes with a request for a new key. */
  finalize(order: Answer, csr: CsrOptions, key = newKey()): Promise<Answer> {
    return this.post(String(order.body['finalize']).replace(base, ''), { csr: Buffer.from(createCsr(key, csr)).toString('base64url') });
  }

  /** Asks until it is decided. */
  async settled(url: string): Promise<Answer> {
    for (;;) {
      const answer = await this.get(url);
      if (answer.body['status'] !== 'pending' && answer.body['status'] !== 'processing') return answer;
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
  }
}

export const rsaKey = (): KeyObject => generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
