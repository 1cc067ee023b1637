/** What the log says about certificates: issued and revoked, and nothing else, page by page. */
import type { AuditStore } from './audit-store.ts';
import { readEvent } from './entry.ts';
import type { LoggedCertificate } from '../../ca/audit/authority.ts';

const pageSize = 1_000;

export async function* certificateEntries(store: AuditStore, from: number): AsyncGenerator<LoggedCertificate> {
  for (let next = from; ; ) {
    const page = await store.read({ from: next, limit: pageSize });
    for (const { event } of page) {
      // Nearly every entry is about something else, and need not be parsed to see that.
      if (!event.includes('"certificate.')) continue;
      const entry = readEvent(event);
      if (entry?.serial === undefined || entry.issuer === undefined) continue;
      const { action, index, issuer, serial, thumbprint, agent, reason, detail } = entry;
      const notAfter = detail?.['notAfter'];
      const facts = { index, issuer, serial, thumbprint, agent, notAfter: typeof notAfter === 'string' ? new Date(notAfter) : undefined };
      if (action === 'certificate.issued') yield { action: 'issued', ...facts };
      // A hold may have been lifted since.
      else if (action === 'certificate.revoked' && reason !== 'certificateHold') yield { action: 'revoked', ...facts };
    }
    const last = page.at(-1);
    if (last === undefined || page.length < pageSize) return;
    next = last.index + 1;
  }
}
