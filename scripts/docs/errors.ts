import { errorTable } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import { errorAdvice } from './error-advice.ts';
import { code, page, table } from './markdown.ts';

const introduction = `Every error has a stable code. The peer gets the public text, and nothing more; the message, which names the next step, and the facts go to the log, and for refusals to the audit log.

- **HTTP**: status of an answer to an HTTP request. Where it is 200, the error is a JSON-RPC error in an ordinary answer.
- **JSON-RPC**: the \`error.code\` in the answer to a request with an id.
- **Exit**: what a command ends with: 1 failed, 2 usage, 3 denied or a finding, 4 waits for a second person.

A problem with the certificate is 403 and never 401: a client that gets 401 begins an OAuth flow, which leads nowhere here.`;

/** In the order of the page; the first prefix that fits. */
const areas: readonly (readonly [prefix: string, title: string])[] = [
  ['ERR_PEER_', 'The certificate of the peer'],
  ['ERR_HTTP_', 'HTTP in front of MCP'],
  ['ERR_MCP_', 'MCP'],
  ['ERR_LIMIT_', 'Limits'],
  ['ERR_UPSTREAM_', 'Upstreams'],
  ['ERR_TOOL_', 'Tool definitions'],
  ['ERR_BRIDGE_', 'The bridge'],
  ['ERR_TOKEN_', 'Enrollment'],
  ['ERR_API_', 'Administration over HTTP'],
  ['ERR_CA_', 'Issuance and revocation'],
  ['ERR_KEY_', 'Keys'],
  ['ERR_CRL_', 'CRLs'],
  ['ERR_', 'Everything else'],
];
const encoded: readonly (readonly [prefix: string, title: string])[] = [
  ['ERR_DER_', 'Encoded structures'], ['ERR_PEM_', 'Encoded structures'], ['ERR_CERTIFICATE_', 'Encoded structures'], ['ERR_CSR_', 'Encoded structures'], ['ERR_OCSP_', 'Encoded structures'],
  ['ERR_CONFIG_', 'Configuration and start'], ['ERR_POLICY_', 'Configuration and start'], ['ERR_LISTEN_', 'Configuration and start'], ['ERR_USAGE', 'Configuration and start'],
  ['ERR_STORE_', 'The store'], ['ERR_BACKUP_', 'The store'], ['ERR_AUDIT_', 'The audit log'],
];
const order = ['Configuration and start', ...areas.slice(0, -1).map(([, title]) => title), 'Encoded structures', 'The store', 'The audit log', 'Everything else'];

export function errorsPage(): string {
  const groups = Object.groupBy(Object.keys(errorTable) as ErrorCode[], areaOf);
  return page('Errors', 'src/errors.ts', [introduction, ...order.flatMap((title) => [`## ${title}`, rowsOf(groups[title] ?? [])])]);
}

const areaOf = (error: ErrorCode): string => [...encoded, ...areas].find(([prefix]) => error.startsWith(prefix))?.[1] ?? '';

const rowsOf = (codes: readonly ErrorCode[]): string =>
  table(['Code', 'HTTP', 'JSON-RPC', 'Exit', 'Public text', 'What to do'], codes.map((each) => {
    const { http, jsonRpc, exit, public: text } = errorTable[each];
    return [code(each), String(http), String(jsonRpc), String(exit), text, errorAdvice[each] ?? ''];
  }));
