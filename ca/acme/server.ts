/** The ACME server: RFC 8555 with RFC 8737, RFC 8738 and RFC 9773, under `/acme/`. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PresentError } from '../http/json-exchange.ts';
import type { CaStore, Clock, Randomness } from '../ports.ts';
import { account, keyChange, newAccount } from './accounts.ts';
import { authorization, challenge } from './authorizations.ts';
import { certificate, revokeCert } from './certificates.ts';
import { finalize } from './finalize.ts';
import { Nonces } from './nonces.ts';
import { listOrders, newOrder, orderResponse, ownOrder, showOrder } from './orders.ts';
import type { AcmeStore } from './ports.ts';
import { malformed, notFound, problemOf, problemResponse } from './problem.ts';
import { RateLimits, networkOf } from './rate-limits.ts';
import { renewalInfo } from './renewal-info.ts';
import { AcmeSecrets } from './secrets.ts';
import { bringsKey, readAccountRequest, readKeyRequest } from './signed-request.ts';
import type { AccountRequest } from './signed-request.ts';
import { Validator, validationDefaults } from './validation/validator.ts';
import type { ValidationNetwork } from './validation/network.ts';
import { AcmeUrls, json } from './world.ts';
import type { AcmeAuthority, AcmeSettings, AcmeWorld } from './world.ts';

export interface AcmeServerOptions {
  readonly authority: AcmeAuthority;
  readonly store: AcmeStore;
  readonly certificates: Pick<CaStore, 'findCertificates' | 'findRequests' | 'recordEvent'>;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** 32 octets that outlive the process and that all nodes have. */
  readonly secret: Uint8Array;
  readonly settings: AcmeSettings;
  readonly network: Omit<ValidationNetwork, 'timeoutMs' | 'closing'> & { readonly timeoutMs?: number };
  /** Pauses between attempts at a validation. Default 1 s, then 3 s. */
  readonly pausesMs?: readonly number[];
  /** Base URL of the listener, without a slash at the end. */
  readonly base: () => string;
  readonly present: PresentError;
  /** Told of what no client gets to see. */
  readonly onError: (error: unknown) => void;
}

const name = '([A-Za-z0-9_-]{22})';

export class AcmeServer {
  readonly #world: AcmeWorld;
  readonly #onError: (error: unknown) => void;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #resources: readonly Resource[];

  constructor(options: AcmeServerOptions) {
    const { clock, randomness, network } = options;
    const secrets = new AcmeSecrets(options.secret);
    const closing = this.#closing.signal;
    this.#onError = options.onError;
    this.#world = {
      authority: options.authority, store: options.store, certificates: options.certificates, clock, randomness,
      settings: options.settings, present: options.present, secrets,
      nonces: new Nonces(secrets.nonceKey(), { clock, randomness }),
      limits: new RateLimits(clock),
      urls: new AcmeUrls(options.base),
      validator: new Validator({ network: { timeoutMs: validationDefaults.timeoutMs, ...network, closing }, pausesMs: options.pausesMs ?? validationDefaults.pausesMs, sleep: (ms) => sleep(ms, undefined, { ref: false }) }),
      background: (work) => this.#background(work),
    };
    this.#resources = resourcesOf(this.#world);
  }

  /** Every request under `/acme/`. Never rejects. */
  async handle(request: Request, caller: { readonly address: string | undefined }): Promise<Response> {
    const { pathname } = new URL(request.url);
    let answer: Response;
    try {
      answer = await this.#answer(request, pathname, caller.address);
    } catch (error) {
      const problem = problemOf(error, this.#world.present);
      if (problem.status >= 500) this.#onError(problem.options.cause ?? error);
      answer = problemResponse(problem);
    }
    // RFC 8555 §6.5: with every answer to a POST, errors included; §7.1: the way back to the directory.
    if (request.method === 'POST') answer.headers.set('replay-nonce', this.#world.nonces.next());
    if (pathname !== '/acme/directory') answer.headers.append('link', `<${this.#world.urls.directory}>;rel="index"`);
    return answer;
  }

  /** Breaks validations off; whoever waits for one gets it begun again. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running);
  }

  async #answer(request: Request, pathname: string, address: string | undefined): Promise<Response> {
    for (const { path, methods, answer } of this.#resources) {
      const found = path.exec(pathname);
      if (found === null) continue;
      // RFC 8555 §6.3: what is POST-as-GET is no GET.
      if (!methods.includes(request.method)) throw malformed(`use ${methods.join(' or ')}`, { status: 405, headers: { allow: methods.join(', ') } });
      return answer({ request, address, names: found.slice(1) });
    }
    throw notFound('resource');
  }

  #background(work: (closing: AbortSignal) => Promise<void>): void {
    const running = work(this.#closing.signal)
      .catch((error: unknown) => this.#onError(error))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }
}

interface Asked {
  readonly request: Request;
  readonly address: string | undefined;
  /** What the groups of the path matched. */
  readonly names: readonly string[];
}

interface Resource {
  readonly path: RegExp;
  readonly methods: readonly string[];
  readonly answer: (asked: Asked) => Promise<Response>;
}

const resourcesOf = (world: AcmeWorld): readonly Resource[] => {
  const open = (path: string, methods: readonly string[], answer: Resource['answer']): Resource => ({ path: new RegExp(`^/acme/${path}$`), methods, answer });
  const signed = (path: string, work: (request: AccountRequest, names: readonly string[], url: URL) => Promise<Response>): Resource =>
    open(path, ['POST'], async ({ request, address, names }) => work(await readAccountRequest(world, request, address), names, new URL(request.url)));
  return [
    open('directory', ['GET', 'HEAD'], async () => directory(world)),
    open('new-nonce', ['GET', 'HEAD'], async ({ request, address }) => {
      world.limits.take('request', networkOf(address));
      // RFC 8555 §7.2.
      return new Response(null, { status: request.method === 'HEAD' ? 200 : 204, headers: { 'replay-nonce': world.nonces.next(), 'cache-control': 'no-store' } });
    }),
    open('new-account', ['POST'], async ({ request, address }) => newAccount(world, await readKeyRequest(world, request, address))),
    signed('new-order', (request) => newOrder(world, request)),
    signed('key-change', (request) => keyChange(world, request)),
    open('revoke-cert', ['POST'], async ({ request, address }) => revokeCert(world, (await bringsKey(request)) ? await readKeyRequest(world, request, address) : await readAccountRequest(world, request, address))),
    signed(`account/${name}`, (request, [id = '']) => {
      if (id !== request.account.id) throw malformed('this is the URL of another account', { status: 403 });
      return account(world, request);
    }),
    signed(`account/${name}/orders`, (request, [id = ''], url) => listOrders(world, request, id, url.searchParams.get('after') ?? undefined)),
    signed(`order/${name}`, (request, [id = '']) => showOrder(world, request, id)),
    signed(`order/${name}/finalize`, async (request, [id = '']) => orderResponse(world, await finalize(world, request, await ownOrder(world, request, id)))),
    signed(`authorization/${name}`, (request, [id = '']) => authorization(world, request, id)),
    signed(`challenge/${name}/([a-z0-9-]{1,20})`, (request, [id = '', type = '']) => challenge(world, request, id, type)),
    signed(`certificate/${name}`, (request, [id = '']) => certificate(world, request, id)),
    open('renewal-info/([^/]{1,200})', ['GET', 'HEAD'], async ({ address, names: [id = ''] }) => {
      world.limits.take('request', networkOf(address));
      return renewalInfo(world, id);
    }),
  ];
};

/** RFC 8555 §7.1.1, RFC 9773 §3, draft-aaron-acme-profiles §3. */
const directory = ({ urls, settings }: AcmeWorld): Response =>
  json(200, {
    newNonce: urls.absolute('/acme/new-nonce'),
    newAccount: urls.newAccount,
    newOrder: urls.absolute('/acme/new-order'),
    revokeCert: urls.absolute('/acme/revoke-cert'),
    keyChange: urls.absolute('/acme/key-change'),
    renewalInfo: urls.absolute('/acme/renewal-info'),
    meta: {
      externalAccountRequired: settings.externalAccount === 'everyone',
      ...(settings.termsOfService === undefined ? {} : { termsOfService: settings.termsOfService }),
      ...(settings.website === undefined ? {} : { website: settings.website }),
      profiles: Object.fromEntries(settings.profiles.map((profile) => [profile, `certificates of profile ${profile}`])),
    },
  });
