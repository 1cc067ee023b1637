import { z } from 'zod';
import { readEvent } from '../../audit/entry.ts';
import { operation } from '../operation.ts';
import type { Operation } from '../operation.ts';
import { auditEntry } from '../schemas.ts';

/** Entries looked at for one answer, whether they match or not. */
const mostRead = 10_000;
const together = 1_000;

const filter = z.strictObject({
  from: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).default(0).describe('Index of the first entry looked at'),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  agent: z.string().max(253).optional(),
  action: z.string().max(64).optional(),
  outcome: z.enum(['allowed', 'denied', 'done', 'failed']).optional(),
});

const listAuditEntries = operation(
  {
    id: 'listAuditEntries', method: 'GET', path: '/audit/entries', tag: 'audit', summary: 'Entries of the audit log, in their order',
    description: 'At most 10,000 entries are looked at for one answer; `next` says where to go on, also when nothing matched.',
    action: 'audit:read', changes: false,
  },
  { query: filter, answer: z.strictObject({ items: z.array(auditEntry), next: z.int().nullable().describe('`from` of the next page; null at the end of the log'), size: z.int() }) },
  {
    run: async ({ query, world: { store } }) => {
      const size = await store.audit.size();
      const items: z.input<typeof auditEntry>[] = [];
      let at = query.from;
      const end = Math.min(size, query.from + mostRead);
      while (at < end && items.length < query.limit) {
        const page = await store.audit.read({ from: at, limit: Math.min(together, end - at) });
        if (page.length === 0) break;
        for (const entry of page) {
          if (items.length >= query.limit) break;
          at = entry.index + 1;
          const event = readEvent(entry.event);
          if (event !== undefined && (query.agent === undefined || event.agent === query.agent) && (query.action === undefined || event.action === query.action) && (query.outcome === undefined || event.outcome === query.outcome)) items.push({ ...event });
        }
      }
      return { answer: { items, next: at < size ? at : null, size } };
    },
  },
);

const getCheckpoint = operation(
  { id: 'getCheckpoint', method: 'GET', path: '/audit/checkpoint', tag: 'audit', summary: 'The latest signed checkpoint of the audit log, to be kept elsewhere', action: 'audit:read', changes: false },
  { answer: z.strictObject({ checkpoint: z.string().nullable(), verifierKey: z.string() }) },
  { run: async ({ world: { store, verifierKey } }) => ({ answer: { checkpoint: (await store.audit.latestCheckpoint()) ?? null, verifierKey } }) },
);

export const auditOperations: readonly Operation[] = [listAuditEntries, getCheckpoint];
