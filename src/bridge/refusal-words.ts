/** What each answer of a gateway means for the person at the MCP client: what happened, and what to do. Pure. */
import type { ErrorCode, GateErrorCode } from '../errors.ts';

export interface RefusalWords {
  /** Follows "the gateway HOST"; `{said}` stands for its own text in brackets, `{path}` for the path asked for. */
  readonly happened: string;
  readonly next: string;
  /** What the MCP client is told it is. Default: the code itself. */
  readonly as?: GateErrorCode;
  /**
   * Trouble with the way rather than an answer of the protocol: an MCP client gets these words in the
   * error, while answers of the protocol are passed on as they are.
   */
  readonly trouble: boolean;
}

const trouble = (happened: string, next: string, as?: GateErrorCode): RefusalWords => ({ happened, next, trouble: true, ...(as === undefined ? {} : { as }) });
const answer = (happened: string, next: string): RefusalWords => ({ happened, next, trouble: false });

/** Stands for the wait that the gateway asks for. */
export const whenToRetry = '{when}';

const askOperator = 'ask its operator to look at the log of sallyport serve';
const otherProgram = 'report it to the maker of the MCP client, since the message itself is wrong';
const enrollAgain = 'ask its operator for a new token (sallyport token create NAME)';

/** Verdicts on the certificate (`ERR_PEER_*`) have words of their own, since they name it: see explain.ts. */
export const refusalWords: Readonly<Partial<Record<ErrorCode, RefusalWords>>> = {
  // HTTP in front of MCP
  ERR_HTTP_PATH: trouble('has no MCP endpoint at {path}', 'it is /mcp for one upstream and /NAME/mcp for a named one'),
  ERR_HTTP_METHOD: answer('does not take this HTTP method at its MCP endpoint', 'use POST; GET and DELETE belong to sessions of the legacy era'),
  ERR_HTTP_HOST: trouble('is not reached under this host name', 'use the address that gateway.url names, or have the name added to gateway.allowedHosts', 'ERR_BRIDGE_REFUSED'),
  ERR_HTTP_ORIGIN: trouble('takes no requests from this web page', 'have its origin added to gateway.allowedOrigins', 'ERR_BRIDGE_REFUSED'),
  ERR_HTTP_HEADER: trouble('found a header that is repeated or not well formed', otherProgram),
  ERR_HTTP_CLIENT_CERT: trouble('takes the certificate of another from proxies it knows only', 'have whoever sends Client-Cert named under gateway.proxies, or leave the header out'),
  ERR_HTTP_MEDIA_TYPE: trouble('takes application/json in UTF-8 only, not compressed', otherProgram),
  ERR_HTTP_NOT_ACCEPTABLE: trouble('answers with JSON or an event stream, and the request accepts only one of them', otherProgram),
  ERR_HTTP_BODY_TOO_LARGE: trouble('does not take a message of this size', 'send less, or raise gateway.limits.bodyBytes there'),
  ERR_HTTP_BODY_TIMEOUT: trouble('did not receive the request in time', 'try again, and look at the network if it goes on'),
  ERR_HTTP_BODY_INCOMPLETE: trouble('received only a part of the request', 'try again, and look at the network if it goes on'),
  ERR_HTTP_ABANDONED: trouble('was told that the request was given up', 'send it again if it is still wanted'),
  // MCP
  ERR_MCP_PARSE: answer('cannot read the message as JSON', otherProgram),
  ERR_MCP_INVALID_REQUEST: answer('cannot read the message as a request of MCP', otherProgram),
  ERR_MCP_BATCH: answer('takes no batches in this protocol revision', 'send the messages one by one'),
  ERR_MCP_REVISION: answer('does not speak this protocol revision', 'update the MCP client, or the gateway'),
  ERR_MCP_REVISION_UNSUPPORTED: answer('does not offer this protocol revision here', 'use one of those it names (gateway.eras there decides)'),
  ERR_MCP_ENVELOPE: answer('misses what this protocol revision demands in params._meta', otherProgram),
  ERR_MCP_HEADER_MISMATCH: answer('found headers and body of the request in disagreement', 'list the tools again, since one may have changed, and repeat the call'),
  ERR_MCP_CAPABILITY: answer('needs the MCP client to declare a capability for this request', 'use an MCP client that has it'),
  ERR_MCP_STATE: answer('does not take this state back: it was given for another request, or has expired', 'begin the call again from the start'),
  ERR_MCP_CURSOR: answer('does not know this cursor, or it has expired', 'list again from the first page'),
  ERR_MCP_TASK_UNKNOWN: answer('knows no such task of this agent, or no longer', 'begin the call again'),
  ERR_MCP_UNTRANSLATABLE: answer('serves an MCP server of another era, which has no counterpart of this request', 'use an MCP client of that era'),
  ERR_MCP_METHOD: answer('does not know this method', 'update the MCP client or the gateway, if it should'),
  ERR_MCP_DENIED: answer('has nothing of this name, or does not permit it to this agent', 'ask its operator for a role that does (sallyport policy explain shows which rule decided)'),
  ERR_MCP_ARGUMENTS: answer('does not permit these arguments to this agent', 'use others, or ask its operator for a role that allows them'),
  ERR_MCP_BATCH_REFUSED: answer('carried out no request of the batch, because one of them is not permitted', 'send them one by one to see which'),
  ERR_MCP_SESSION_UNKNOWN: trouble('does not know this session any more', 'initialize again'),
  ERR_MCP_SESSION_REQUIRED: answer('misses the session id', otherProgram),
  ERR_MCP_ALREADY_INITIALIZED: answer('has initialized this session already', 'go on in it, or begin a new one'),
  ERR_MCP_UNSOLICITED: answer('awaits no such response', otherProgram),
  ERR_MCP_EVENT_ID: answer('cannot resume the stream at this event', 'send the request again if it may be repeated'),
  // Limits
  ERR_LIMIT_SESSIONS: trouble('has reached a limit of this agent{said}', `close sessions that are not needed, or ${whenToRetry}`),
  ERR_LIMIT_STREAMS: trouble('has reached a limit of this agent{said}', `close streams that are not needed, or ${whenToRetry}`),
  ERR_LIMIT_REQUESTS: trouble('has reached a limit of this agent{said}', whenToRetry),
  ERR_LIMIT_RATE: trouble('has reached a limit of this agent{said}', whenToRetry),
  ERR_LIMIT_CONCURRENT: trouble('has reached a limit of this agent{said}', whenToRetry),
  ERR_LIMIT_SUBSCRIPTIONS: trouble('has reached a limit of this agent{said}', `end subscriptions that are not needed, or ${whenToRetry}`),
  // Behind the gateway
  ERR_UPSTREAM_UNREACHABLE: trouble('is there, the MCP server behind it is not answering', askOperator),
  ERR_UPSTREAM_EXITED: trouble('is there, the MCP server behind it ended', `${whenToRetry}, or ${askOperator}`),
  ERR_UPSTREAM_TIMEOUT: trouble('is there, the MCP server behind it did not answer in time', 'look whether the request was carried out before repeating it'),
  ERR_UPSTREAM_INVALID: trouble('is there, the MCP server behind it sent an answer that is not MCP', askOperator),
  ERR_UPSTREAM_TOO_LARGE: trouble('is there, the MCP server behind it sent more than is passed on', 'ask for less'),
  ERR_UPSTREAM_CREDENTIAL: trouble('is there, and has no credential that the MCP server behind it takes', askOperator),
  // The gateway itself
  ERR_AUDIT_UNAVAILABLE: trouble('permits nothing while it cannot write its audit log', `${whenToRetry}, or ask its operator to run sallyport doctor`, 'ERR_BRIDGE_UNREACHABLE'),
  ERR_STORE_UNAVAILABLE: trouble('cannot reach its store', `${whenToRetry}, or ask its operator to run sallyport doctor`, 'ERR_BRIDGE_UNREACHABLE'),
  ERR_STORE_SCHEMA: trouble('finds its store written by another release', 'ask its operator to run one release everywhere', 'ERR_BRIDGE_UNREACHABLE'),
  ERR_DRAINING: trouble('is shutting down', `${whenToRetry}, since it may be on its way back`, 'ERR_BRIDGE_UNREACHABLE'),
  ERR_INTERNAL: trouble('failed inside', askOperator),
  // Enrollment and renewal
  ERR_TOKEN_INVALID: trouble('does not know the enrollment token', enrollAgain),
  ERR_TOKEN_SPENT: trouble('has seen the enrollment token used before', enrollAgain),
  ERR_TOKEN_EXPIRED: trouble('finds the enrollment token expired', enrollAgain),
  ERR_CSR_INVALID: trouble('cannot read the certificate request', 'run the same release of sallyport on both sides'),
  ERR_CSR_SIGNATURE: trouble('finds that the certificate request does not prove possession of its key', 'run the same release of sallyport on both sides'),
  ERR_CA_CSR_CONTENT: trouble('grants less than the certificate request asks for', enrollAgain),
  ERR_CA_KEY_REFUSED: trouble('does not certify keys of this kind', 'enroll with another --key-algorithm'),
  ERR_CA_KEY_REUSED: trouble('knows this key as the key of another agent', 'enroll anew, which makes a key of its own'),
  ERR_CA_LIMIT: trouble('has issued this agent as many live certificates as it may hold', 'ask its operator to revoke one, or to raise ca.maxLivePerAgent'),
  ERR_REQUEST_PENDING: trouble('keeps the request until a second person has approved it', 'ask again later with the same token and key'),
  ERR_REQUEST_DENIED: trouble('has the request denied by a second person', 'ask its operator why'),
  ERR_REQUEST_EXPIRED: trouble('has waited for approval, or for the certificate to be collected, in vain', enrollAgain),
  ERR_REQUEST_QUEUE_FULL: trouble('has too many requests that wait for approval', 'try again {when}'),
  ERR_CA_IDENTITY_REVOKED: trouble('has revoked this identity', enrollAgain),
  ERR_CA_CERTIFICATE_UNKNOWN: trouble('did not issue this certificate', enrollAgain),
  ERR_CA_TTL: trouble('finds the certificate outside the time in which it may be renewed', enrollAgain),
  ERR_CA_PROFILE: trouble('no longer has the profile of this certificate', enrollAgain),
  ERR_CA_NAME: trouble('does not take this name into certificates', 'ask its operator for a token with another name'),
  ERR_CA_LINT: trouble('made a certificate that failed its own checks and did not issue it', askOperator),
  ERR_CA_MISSING: trouble('has no certificate authority', 'ask its operator which gateway issues'),
};
