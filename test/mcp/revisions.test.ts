import { expect, test } from 'vitest';
import { assumedRevision, batchAllowed, isKnownRevision, revisionOf, revisions } from '../../src/mcp/revisions.ts';

test('batches are part of 2025-03-26 and of no other revision', () => {
  expect(revisions.filter(({ name }) => batchAllowed(name)).map(({ name }) => name)).toStrictEqual(['2025-03-26']);
  expect(batchAllowed('2099-01-01')).toBe(false);
});

test('the version header is required from 2025-06-18 on', () => {
  expect(revisions.filter(({ versionHeader }) => versionHeader === 'required').map(({ name }) => name)).toStrictEqual(['2025-06-18', '2025-11-25', '2026-07-28']);
});

test('revisions are known by their exact name', () => {
  expect(isKnownRevision(assumedRevision)).toBe(true);
  expect(revisionOf('2025-11-25')?.era).toBe('legacy');
  expect(revisionOf('2026-07-28')?.era).toBe('modern');
  for (const name of ['', '2025-11-25 ', '2025-11-2', 'constructor', '2026-07-2', 'DRAFT-2025-v3']) expect(isKnownRevision(name)).toBe(false);
});
