import { expect, test } from 'vitest';
import { roleOf } from '../../ca/record-role.ts';
import { isChosen } from '../../ca/revocation-selector.ts';
import { anIntent } from '../support/records.ts';

test.each([
  ['ca:root-2', 'ca'],
  ['ocsp:issuing', 'ocsp'],
  ['ca', 'endEntity'],
  ['agent-7', 'endEntity'],
  // Addresses of 00ca::/16, which servers may be named by.
  ['ca::1', 'endEntity'],
  ['ca:1:2:3:4:5:6:7', 'endEntity'],
])('%s is the name of: %s', (agent, role) => {
  expect(roleOf({ agent })).toBe(role);
});

test('a bulk revocation leaves CAs alone, and no server whose address looks like the name of one', () => {
  const chosen = isChosen({ organizationalUnit: 'analytics' });
  const record = (agent: string) => ({ ...anIntent({ agent }), state: 'issued' as const, der: undefined, thumbprint: undefined, revokedAt: undefined, revocationReason: undefined, firstSeenAt: undefined, releasedAt: undefined });
  expect(['ca:issuing', 'ca::1', 'agent-7'].map((agent) => chosen(record(agent)))).toEqual([false, true, true]);
});
