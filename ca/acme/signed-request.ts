/** Who sent a request: every POST is a JWS, RFC 8555 §6.2 to §6.5. */
import { parseJwk } from './jwk.ts';
import type { AccountKey } from './jwk.ts';
import { checkAlgorithm, parseJsonObject, parseJws, verifyJws } from './jws.ts';
import type { Jws } from './jws.ts';
import type { AcmeAccount, ExternalAccount } from './ports.ts';
import { AcmeProblem, malformed } from './problem.ts';
import { networkOf } from './rate-limits.ts';
import type { AcmeWorld } from './world.ts';

export interface SignedRequest {
  readonly payload: Uint8Array;
  readonly url: string;
  readonly key: AccountKey;
  readonly address: string | undefined;
}

/** Of an account in good standing. */
export interface AccountRequest extends SignedRequest {
  readonly account: AcmeAccount;
  readonly external: ExternalAccount | undefined;
}

const accountPath = /^\/acme\/account\/([A-Za-z0-9_-]{22})$/;

/** Signed by a key that the request brings itself. @throws AcmeProblem */
export const readKeyRequest = async (world: AcmeWorld, request: Request, address: string | undefined): Promise<SignedRequest> => {
  const { jws, url, expiry } = await readUnverified(world, request, address);
  if (jws.header.kid !== undefined || jws.header.jwk === undefined) throw malformed('this request is signed with jwk in the protected header, not kid');
  const key = parseJwk(jws.header.jwk);
  verifyJws(jws, key);
  await spend(world, jws, expiry);
  return { payload: jws.payload, url, key, address };
};

/** Signed by the key of an account. @throws AcmeProblem */
export const readAccountRequest = async (world: AcmeWorld, request: Request, address: string | undefined): Promise<AccountRequest> => {
  const { jws, url, expiry } = await readUnverified(world, request, address);
  const { kid, jwk } = jws.header;
  if (kid === undefined || jwk !== undefined) throw malformed('this request is signed with kid in the protected header, not jwk');
  const account = await accountOf(world, kid);
  const key = parseJwk(JSON.parse(account.jwk));
  verifyJws(jws, key);
  await spend(world, jws, expiry);
  // RFC 8555 §7.3.6: nothing is granted to an account that has ended.
  if (account.status !== 'valid') throw new AcmeProblem('unauthorized', `the account is ${account.status}; make a new one`, { status: 401 });
  const external = account.kid === undefined ? undefined : await world.store.externalAccount(account.kid);
  if (account.kid !== undefined && (external === undefined || external.removedAt !== undefined)) {
    throw new AcmeProblem('unauthorized', 'the external account behind this account was removed; ask the operator for a new one', { status: 401 });
  }
  return { payload: jws.payload, url, key, address, account, external };
};

/** Whether a request brings its own key, for the one resource that takes both. */
export const bringsKey = async (request: Request): Promise<boolean> => parseJws(parseBody(await request.clone().bytes())).header.jwk !== undefined;

/** RFC 8555 §6.3. @throws AcmeProblem `malformed` */
export const requireEmpty = ({ payload }: SignedRequest): void => {
  if (payload.length > 0) throw malformed('this is only read: send a POST-as-GET, whose payload is empty');
};

export const payloadOf = ({ payload }: Pick<SignedRequest, 'payload'>): ReadonlyMap<string, unknown> => parseJsonObject(payload, 'payload');

const readUnverified = async ({ nonces, urls, limits }: AcmeWorld, request: Request, address: string | undefined): Promise<{ jws: Jws; url: string; expiry: Date }> => {
  limits.take('request', networkOf(address));
  // RFC 8555 §6.2.
  if (request.headers.get('content-type')?.trim().toLowerCase() !== 'application/jose+json') throw malformed('send it as application/jose+json', { status: 415 });
  const jws = parseJws(parseBody(await request.bytes()));
  checkAlgorithm(jws);
  const { pathname, search } = new URL(request.url);
  const url = urls.absolute(pathname + search);
  // RFC 8555 §6.4.1: compared as texts.
  if (jws.header.url !== url) throw new AcmeProblem('unauthorized', `the url of the protected header is not that of the request, ${url}`);
  const expiry = nonces.expiryOf(jws.header.nonce ?? '');
  if (expiry === undefined) throw badNonce();
  return { jws, url, expiry };
};

/** Last, so that only who holds a key can have a nonce remembered. */
const spend = async ({ store, clock }: AcmeWorld, { header: { nonce = '' } }: Jws, expiry: Date): Promise<void> => {
  if (!(await store.spendNonce(nonce, expiry, clock.now()))) throw badNonce();
};

const badNonce = (): AcmeProblem => new AcmeProblem('badNonce', 'the nonce is spent, expired or not one of this server; try again with the one in Replay-Nonce');

const accountOf = async ({ store, urls }: AcmeWorld, kid: string): Promise<AcmeAccount> => {
  const base = urls.absolute('');
  const [, id] = (kid.startsWith(base) ? accountPath.exec(kid.slice(base.length)) : null) ?? [];
  const account = id === undefined ? undefined : await store.account(id);
  if (account === undefined) throw new AcmeProblem('accountDoesNotExist', 'kid is not the URL of an account here; register first');
  return account;
};

const parseBody = (octets: Uint8Array): unknown => Object.fromEntries(parseJsonObject(octets, 'request'));
