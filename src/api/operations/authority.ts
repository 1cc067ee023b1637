import { z } from 'zod';
import type { KeyAlgorithm } from '../../../ca/ports.ts';
import { keyAlgorithms } from '../../../ca/profile.ts';
import { adminRoles } from '../../admin/roles.ts';
import { adminRolesOf } from '../../admin/decision.ts';
import { operation } from '../operation.ts';
import type { Operation } from '../operation.ts';
import { authority as authoritySchema, profile } from '../schemas.ts';
import { authorityView, profileView } from '../views.ts';

const getHierarchy = operation(
  { id: 'getHierarchy', method: 'GET', path: '/hierarchy', tag: 'authority', summary: 'Every CA, what it is for now, and its certificate', action: 'authority:read', changes: false },
  { answer: z.strictObject({ trustDomain: z.string(), root: z.string(), issuing: z.string(), sequence: z.int(), authorities: z.array(authoritySchema), roots: z.string().describe('PEM of every root to be trusted') }) },
  {
    run: async ({ world: { authority } }) => ({
      answer: { trustDomain: authority.trustDomain, root: authority.root.name, issuing: authority.issuing.name, sequence: authority.sequence, authorities: authority.issuers.map(authorityView), roots: authority.roots },
    }),
  },
);

const listProfiles = operation(
  { id: 'listProfiles', method: 'GET', path: '/profiles', tag: 'authority', summary: 'Kinds of certificates that can be issued', action: 'authority:read', changes: false },
  { answer: z.strictObject({ items: z.array(profile), keyAlgorithm: z.string().describe('Of keys for agents, when nobody asks for another') }) },
  { run: async ({ world: { authority, keyAlgorithm } }) => ({ answer: { items: [...authority.profiles.values()].map(profileView), keyAlgorithm } }) },
);

const getHealth = operation(
  { id: 'getHealth', method: 'GET', path: '/health', tag: 'authority', summary: 'Whether the authority can record and its CRLs are fresh', action: 'anyRole', changes: false },
  { answer: z.strictObject({ status: z.enum(['ok', 'degraded']), version: z.string(), auditLog: z.enum(['ok', 'unavailable']), crls: z.array(z.strictObject({ ca: z.string(), state: z.enum(['fresh', 'stale', 'missing']) })) }) },
  {
    run: async ({ world: { authority, store, audit, clock, version } }) => {
      const now = clock.now();
      const crls = await Promise.all(
        authority.issuers.map(async ({ id, name }) => {
          const states = await store.ca.crlStates(id);
          return { ca: name, state: states.length === 0 ? ('missing' as const) : states.every(({ nextUpdate }) => nextUpdate > now) ? ('fresh' as const) : ('stale' as const) };
        }),
      );
      const ok = audit.available && crls.every(({ state }) => state === 'fresh');
      return { answer: { status: ok ? ('ok' as const) : ('degraded' as const), version, auditLog: audit.available ? ('ok' as const) : ('unavailable' as const), crls } };
    },
  },
);

const getCaller = operation(
  { id: 'getCaller', method: 'GET', path: '/caller', tag: 'authority', summary: 'Who asks, and which roles that gives', action: 'anyRole', changes: false },
  { answer: z.strictObject({ id: z.string(), subject: z.string(), serial: z.string(), roles: z.array(z.enum(adminRoles)) }) },
  { run: async ({ principal, world: { admins } }) => ({ answer: { id: principal.id, subject: principal.subject, serial: principal.serial, roles: [...adminRolesOf(admins, principal)] } }) },
);

const changed = z.strictObject({ authorities: z.array(authoritySchema).describe('Those it is about') });
const named = z.strictObject({ ca: z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'must be the name of a CA') });

const prepareAuthority = operation(
  { id: 'prepareAuthority', method: 'POST', path: '/hierarchy/authorities', tag: 'authority', summary: 'Make the next issuing CA, or the next root with an issuing CA under it: trusted from now on, issuing once activated', action: 'hierarchy:change', changes: true, status: 201 },
  { body: z.strictObject({ role: z.enum(['root', 'issuing']), keyAlgorithm: z.enum(keyAlgorithms as [KeyAlgorithm, ...KeyAlgorithm[]]).optional() }).meta({ id: 'PrepareRequest' }), answer: changed },
  { run: async ({ body, principal, world: { authority } }) => ({ answer: { authorities: (await authority.prepareIssuer({ role: body.role, keyAlgorithm: body.keyAlgorithm, actor: principal.id })).map(authorityView) } }) },
);

const activateAuthority = operation(
  { id: 'activateAuthority', method: 'POST', path: '/hierarchy/authorities/{ca}/activation', tag: 'authority', summary: 'Have a prepared CA issue from now on; a root must have been known for a day', action: 'hierarchy:change', changes: true },
  { params: named, answer: changed },
  { run: async ({ params, principal, world: { authority } }) => ({ answer: { authorities: (await authority.activateIssuer(params.ca, { actor: principal.id })).map(authorityView) } }) },
);

const retireAuthority = operation(
  { id: 'retireAuthority', method: 'POST', path: '/hierarchy/authorities/{ca}/retirement', tag: 'authority', summary: 'Accept nothing more that a superseded CA issued; refused while certificates of it are valid', action: 'hierarchy:change', changes: true },
  { params: named, answer: changed },
  { run: async ({ params, principal, world: { authority } }) => ({ answer: { authorities: (await authority.retireIssuer(params.ca, { actor: principal.id })).map(authorityView) } }) },
);

export const authorityOperations: readonly Operation[] = [prepareAuthority, activateAuthority, retireAuthority, getHierarchy, listProfiles, getHealth, getCaller];
