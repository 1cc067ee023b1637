import { z } from 'zod';
import { CaError } from '../../../ca/errors.ts';
import { operation } from '../operation.ts';
import type { Operation } from '../operation.ts';
import { createdToken, hash, page, paging, token, tokenBody } from '../schemas.ts';
import { cursorOf, placeOf, targetOf, tokenView } from '../views.ts';
import { newTarget } from './certificates.ts';

const listTokens = operation(
  { id: 'listTokens', method: 'GET', path: '/tokens', tag: 'tokens', summary: 'Enrollment tokens, oldest first; never their secrets', action: 'token:read', changes: false },
  { query: z.strictObject(paging), answer: page(token) },
  {
    run: async ({ query: { limit, cursor }, world: { authority } }) => {
      const from = cursor === undefined ? undefined : placeOf(cursor);
      const tokens = await authority.tokens({ limit, ...(from === undefined ? {} : { after: { createdAt: from.at, secretHash: from.first } }) });
      const last = tokens.at(-1);
      return { answer: { items: tokens.map(tokenView), next: last === undefined || tokens.length < limit ? null : cursorOf(last.createdAt, last.secretHash) } };
    },
  },
);

const createToken = operation(
  { id: 'createToken', method: 'POST', path: '/tokens', tag: 'tokens', summary: 'A one-time token with which an agent enrolls itself', action: 'token:create', changes: true, status: 201 },
  { body: tokenBody, answer: createdToken },
  {
    prepare: async ({ body, world }) => ({ targets: [await newTarget(world, { ...body, hosts: undefined })], prepared: undefined }),
    run: async ({ body, principal, world: { authority, places } }) => {
      const { agent, organizationalUnits, profile, ttl, certificateTtl } = body;
      const created = await authority.createToken({
        agent, actor: principal.id,
        ...(organizationalUnits === undefined ? {} : { organizationalUnits }),
        ...(profile === undefined ? {} : { profile }),
        ...(ttl === undefined ? {} : { ttl }),
        ...(certificateTtl === undefined ? {} : { certificateTtl }),
      });
      return { answer: { ...created, organizationalUnits: [...created.organizationalUnits], expiresAt: created.expiresAt.toISOString(), enrollUrl: places().enrollment } };
    },
  },
);

const deleteToken = operation(
  { id: 'deleteToken', method: 'DELETE', path: '/tokens/{id}', tag: 'tokens', summary: 'Take an unused token back', action: 'token:delete', changes: true },
  { params: z.strictObject({ id: hash() }), answer: z.strictObject({ id: hash(), agent: z.string() }) },
  {
    prepare: async ({ params, world: { store } }) => {
      const known = await store.ca.findToken(params.id);
      if (known === undefined) throw new CaError('ERR_TOKEN_UNKNOWN', 'there is no token of this id; listTokens shows those there are');
      return { targets: [targetOf(known.token)], prepared: undefined };
    },
    run: async ({ params, principal, world: { authority } }) => {
      const { secretHash, agent } = await authority.deleteToken(params.id, { actor: principal.id });
      return { answer: { id: secretHash, agent } };
    },
  },
);

export const tokenOperations: readonly Operation[] = [listTokens, createToken, deleteToken];
