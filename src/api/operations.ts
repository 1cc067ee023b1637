/** Everything the HTTP API offers: what is served and what is described are this one list. */
import type { Operation } from './operation.ts';
import { auditOperations } from './operations/audit.ts';
import { authorityOperations } from './operations/authority.ts';
import { certificateOperations } from './operations/certificates.ts';
import { requestOperations } from './operations/requests.ts';
import { revocationOperations } from './operations/revocation.ts';
import { tokenOperations } from './operations/tokens.ts';

export const operations: readonly Operation[] = [...certificateOperations, ...revocationOperations, ...tokenOperations, ...requestOperations, ...authorityOperations, ...auditOperations];
