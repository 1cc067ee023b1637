/** Accounts, RFC 8555 §7.3. */
import { accountChanged, accountCreated, accountRefused } from './events.ts';
import { parseJwk } from './jwk.ts';
import { isMacOf, parseJsonObject, parseJws, verifyJws } from './jws.ts';
import type { AcmeAccount, ExternalAccount } from './ports.ts';
import { AcmeProblem, malformed } from './problem.ts';
import { networkOf } from './rate-limits.ts';
import { randomName } from './secrets.ts';
import { payloadOf } from './signed-request.ts';
import type { AccountRequest, SignedRequest } from './signed-request.ts';
import { json } from './world.ts';
import type { AcmeWorld } from './world.ts';

const maxContacts = 10;

/** newAccount: the account of this key, made when there is none. */
export const newAccount = async (world: AcmeWorld, request: SignedRequest): Promise<Response> => {
  const { store, clock, randomness, settings } = world;
  const { key, address } = request;
  const payload = payloadOf(request);
  const existing = await store.accountByKey(key.thumbprint);
  if (existing !== undefined) return shown(world, requireValid(existing), 200);
  // RFC 8555 §7.3.1.
  if (payload.get('onlyReturnExisting') === true) throw new AcmeProblem('accountDoesNotExist', 'this key has no account here');
  if (settings.termsOfService !== undefined && payload.get('termsOfServiceAgreed') !== true) throw malformed(`the terms of service must be agreed to: ${settings.termsOfService}`);
  const contacts = contactsIn(payload) ?? [];
  const external = await bound(world, request, payload.get('externalAccountBinding'));
  const time = clock.now();
  const account: AcmeAccount = { id: randomName(randomness), status: 'valid', jwk: key.jwk, thumbprint: key.thumbprint, contacts, kid: external?.kid, createdAt: time };
  const created = await store.createAccount(account, accountCreated(account, external?.agent, { time, address }));
  if (created.outcome === 'bound') throw refusedBinding('the external account was used, or removed, in the same moment');
  return shown(world, requireValid(created.account), created.outcome === 'created' ? 201 : 200);
};

/** Of an account: shown, with new contacts, or ended (RFC 8555 §7.3.2, §7.3.6). */
export const account = async (world: AcmeWorld, request: AccountRequest): Promise<Response> => {
  if (request.payload.length === 0) return shown(world, request.account, 200);
  const payload = payloadOf(request);
  const status = payload.get('status');
  if (status !== undefined && status !== 'deactivated' && status !== 'valid') throw malformed('the only status an account may be given is deactivated');
  const contacts = contactsIn(payload);
  const changes = { ...(contacts === undefined ? {} : { contacts }), ...(status === 'deactivated' ? { status: 'deactivated' as const } : {}) };
  if (Object.keys(changes).length === 0) return shown(world, request.account, 200);
  const changed = await world.store.changeAccount(request.account.id, changes, accountChanged(request.account, changes, { time: world.clock.now(), address: request.address }));
  return shown(world, changed ?? requireValid(undefined), 200);
};

/** keyChange, RFC 8555 §7.3.5: signed by the old key, and inside by the new one. */
export const keyChange = async (world: AcmeWorld, request: AccountRequest): Promise<Response> => {
  const { store, clock, urls } = world;
  const { account, address } = request;
  const inner = parseJws(Object.fromEntries(payloadOf(request)));
  const { jwk, kid, nonce, url } = inner.header;
  if (jwk === undefined || kid !== undefined || nonce !== undefined) throw malformed('the inner JWS is signed with jwk in its protected header, without kid and nonce');
  if (url !== request.url) throw malformed('the url of the inner JWS is not that of the outer one');
  const key = parseJwk(jwk);
  verifyJws(inner, key);
  const told = parseJsonObject(inner.payload, 'inner payload');
  if (told.get('account') !== urls.account(account.id)) throw malformed('the inner JWS names another account');
  if (parseJwk(told.get('oldKey')).thumbprint !== account.thumbprint) throw malformed('oldKey of the inner JWS is not the key of the account');
  const time = clock.now();
  const other = await store.changeKey(account.id, key, accountChanged(account, { thumbprint: key.thumbprint }, { time, address }));
  if (other !== undefined) throw malformed('the new key has an account already', { status: 409, headers: { location: urls.account(other.id) } });
  return shown(world, { ...account, jwk: key.jwk, thumbprint: key.thumbprint }, 200);
};

const shown = ({ urls }: AcmeWorld, { id, status, contacts }: AcmeAccount, code: 200 | 201): Response =>
  json(code, { status, contact: contacts, orders: `${urls.account(id)}/orders` }, { location: urls.account(id) });

const requireValid = (found: AcmeAccount | undefined): AcmeAccount => {
  if (found?.status === 'valid') return found;
  throw new AcmeProblem('unauthorized', `the account of this key is ${found?.status ?? 'ended'}; make a new one with another key`, { status: 401 });
};

/** Undefined when the request says nothing of them. RFC 8555 §7.3: one address each, no header fields. */
const contactsIn = (payload: ReadonlyMap<string, unknown>): readonly string[] | undefined => {
  const given = payload.get('contact');
  if (given === undefined) return undefined;
  if (!Array.isArray(given) || given.length > maxContacts) throw malformed(`contact is a list of at most ${maxContacts} URLs`);
  return (given as readonly unknown[]).map((contact) => {
    if (typeof contact !== 'string') throw malformed('a contact is a URL');
    if (!contact.startsWith('mailto:')) throw new AcmeProblem('unsupportedContact', 'a contact must be a mailto: URL');
    if (contact.length > 254 || !/^mailto:[^\s@,?]+@[^\s@,?]+$/.test(contact)) throw new AcmeProblem('invalidContact', 'a mailto: contact has exactly one address and nothing else');
    return contact;
  });
};

/** RFC 8555 §7.3.4. */
const bound = async (world: AcmeWorld, request: SignedRequest, binding: unknown): Promise<ExternalAccount | undefined> => {
  const { settings, limits, certificates, clock } = world;
  if (binding === undefined) {
    if (settings.externalAccount === 'everyone') throw new AcmeProblem('externalAccountRequired', 'accounts need an external account here: ask the operator for sallyport acme create');
    limits.take('account', networkOf(request.address));
    return undefined;
  }
  try {
    return await readBinding(world, request, binding);
  } catch (error) {
    if (!(error instanceof AcmeProblem)) throw error;
    limits.take('account', networkOf(request.address));
    await certificates.recordEvent(accountRefused(error.type, { time: clock.now(), address: request.address }));
    throw error;
  }
};

const readBinding = async ({ secrets, store, clock }: AcmeWorld, { key, url }: SignedRequest, binding: unknown): Promise<ExternalAccount> => {
  const jws = parseJws(binding);
  const { kid, nonce, jwk } = jws.header;
  if (kid === undefined || nonce !== undefined || jwk !== undefined) throw malformed('the external account binding is protected with kid, without nonce and jwk');
  if (jws.header.url !== url) throw malformed('the url of the external account binding is not that of the request');
  if (!/^[A-Za-z0-9_-]{22}$/.test(kid) || !isMacOf(jws, secrets.macKey(kid))) throw refusedBinding('the key identifier or the MAC key is wrong');
  if (parseJwk(Object.fromEntries(parseJsonObject(jws.payload, 'payload of the external account binding'))).thumbprint !== key.thumbprint) throw refusedBinding('it is for another account key');
  const external = await store.externalAccount(kid);
  if (external === undefined || external.removedAt !== undefined) throw refusedBinding('the external account was removed');
  if (external.accountId !== undefined) throw refusedBinding('the external account is bound to another account key');
  if (external.expiresAt <= clock.now()) throw refusedBinding('the external account has expired before it was used');
  return external;
};

const refusedBinding = (why: string): AcmeProblem => new AcmeProblem('unauthorized', `the external account binding is refused: ${why}; ask the operator for a new one`);
