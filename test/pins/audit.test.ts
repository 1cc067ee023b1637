import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { AuditEvent } from '../../ca/ports.ts';
import { canonicalEvent } from '../../src/audit/entry.ts';

const root = new URL('../..', import.meta.url).pathname;

/** Compiles only while the type has these fields and no others. */
const fields: Readonly<Record<keyof AuditEvent, true>> = {
  action: true, outcome: true, time: true, reason: true, actor: true, agent: true, subject: true, serial: true, issuer: true, thumbprint: true,
  roles: true, upstream: true, method: true, name: true, rule: true, session: true, address: true, durationMs: true, argumentDigest: true, detail: true,
};

const actions = [
  'acme.accountChanged', 'acme.accountCreated', 'acme.accountRefused', 'acme.authorizationDeactivated', 'acme.challengeFailed', 'acme.challengeValidated',
  'acme.externalAccountCreated', 'acme.externalAccountRemoved', 'acme.orderCreated', 'acme.orderFailed', 'acme.orderFilled',
  'api.decided', 'audit.resumed', 'backup.created', 'ca.activated', 'ca.prepared', 'ca.retired', 'certificate.issued', 'certificate.refused', 'certificate.released', 'certificate.revoked', 'certificate.unknownIssued', 'certificate.withheld',
  'connection.cut', 'crl.published', 'crl.withdrawn', 'gateway.started', 'gateway.stopped', 'handshake.refused', 'policy.loaded', 'renewal.late', 'request.approved',
  'request.collected', 'request.created', 'request.decided', 'request.decisionRefused', 'request.denied', 'request.expired', 'request.refused', 'request.reserved', 'store.restored', 'store.tidied',
  'token.created', 'token.deleted', 'token.refused', 'token.spent', 'tool.added', 'tool.approved', 'tool.changed',
  'trust.changed', 'trust.refreshed',
];

it('records these actions and no others', async () => {
  const sources = (await Promise.all(['ca', 'src'].map(async (folder) => (await readdir(join(root, folder), { recursive: true })).filter((name) => name.endsWith('.ts')).map((name) => join(root, folder, name))))).flat();
  const texts = await Promise.all(sources.map((file) => readFile(file, 'utf8')));
  const found = new Set(texts.flatMap((text) => [...text.matchAll(/action: '([a-z]+\.[A-Za-z]+)'/g)].map(([, action]) => action)));
  expect([...found].toSorted()).toEqual(actions);
});

it('explains every action and field in docs/audit.md', async () => {
  const page = await readFile(join(root, 'docs/audit.md'), 'utf8');
  for (const word of [...actions, ...Object.keys(fields), 'index']) expect(page, word).toContain(`\`${word}\``);
});

it('keeps the octets of an entry, which are what is hashed and signed', () => {
  const event: AuditEvent = { action: 'request.decided', outcome: 'denied', time: new Date('2026-01-02T03:04:05.678Z'), reason: 'noGrant', roles: ['analyst'], name: 'é', detail: { b: 1, a: null }, agent: undefined };
  expect(canonicalEvent(event, 7)).toBe('{"action":"request.decided","detail":{"a":null,"b":1},"index":7,"name":"é","outcome":"denied","reason":"noGrant","roles":["analyst"],"time":"2026-01-02T03:04:05.678Z"}');
});
