/**
 * sallyport.yaml: every key with its type, default and meaning. Strict: unknown keys are errors.
 * The reference in the documentation is generated from this file (`configReference`).
 */
import { z } from 'zod';
import { adminSchema, adminWhen } from '../admin/schema.ts';
import { acme } from './acme-schema.ts';
import { parseListenAddress } from './listen-address.ts';
import { count, duration, durationOrNone, httpUrl, text, typeNames } from './schema-parts.ts';
import { trustAnchor, trustKeysAt, trustName } from './trust-schema.ts';

const keyAlgorithms = ['p256', 'p384', 'ed25519', 'rsa2048', 'rsa3072', 'rsa4096', 'ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const;
const issuanceWays = ['operator', 'token', 'est', 'acme', 'renewal', 'api'] as const;
const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const;

const listenAddress = () =>
  z
    .string('must be host:port')
    .transform((text, context) => {
      const address = parseListenAddress(text);
      if (address === undefined) {
        context.addIssue('must be host:port, such as localhost:8443, or [::1]:8443 for IPv6');
        return z.NEVER;
      }
      return address;
    })
    .register(typeNames, { type: 'host:port' });

const hostName = z.string().regex(/^(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)$/, 'must be a lower-case host name without port');
const origin = z.string().refine((text) => URL.parse(text)?.origin === text, 'must be an origin such as https://app.example');
const limits = z.strictObject({
  bodyBytes: count(1_024, 1_073_741_824).default(4 * 1024 * 1024).describe('Longest request body in octets; more is answered 413'),
  bodyTimeoutMs: count(100, 3_600_000).default(10_000).describe('Time a peer has to send a request body; then 408'),
  sessionsPerPrincipal: count(1, 1_000_000).default(32).describe('MCP sessions one agent may hold; more are answered 429'),
  streamsPerPrincipal: count(1, 1_000_000).default(16).describe('Open SSE streams one agent may hold'),
  requestsPerPrincipal: count(1, 1_000_000).default(64).describe('Requests of one agent in flight at once'),
  subscriptionsPerPrincipal: count(1, 1_000_000).default(16).describe('Open `subscriptions/listen` streams one agent may hold'),
  subscribedResourcesPerPrincipal: count(1, 1_000_000).default(256).describe('Resources one agent may watch at once, in all its sessions and streams'),
  callTimeoutMs: count(100, 604_800_000).default(3_600_000).describe('Longest time one call may run, whatever it reports meanwhile'),
  sessionIdleMs: count(1_000, 604_800_000).default(1_800_000).describe('A session without a request or an open stream ends after this time'),
  upstreamTimeoutMs: count(100, 86_400_000).default(120_000).describe('Time an upstream has for an answer, or between two events of a stream'),
  eventBufferPerStream: count(1, 1_000_000).default(256).describe('Events kept for a stream that a client may resume'),
});

const gateway = z.strictObject({
  listen: listenAddress().prefault('localhost:8443').describe('Where agents connect, mutual TLS only'),
  public: z.union([listenAddress(), z.literal(false)], { error: 'must be host:port, or false for none' }).prefault('127.0.0.1:8080').register(typeNames, { type: 'host:port | false' }).describe('Plain HTTP for CRLs, OCSP, CA certificates, /healthz and /readyz; false for none'),
  enroll: z.union([listenAddress(), z.literal(false)], { error: 'must be host:port, or false for none' }).prefault('localhost:8444').register(typeNames, { type: 'host:port | false' }).describe('TLS for enrollment with a token and for renewal; false for none'),
  url: httpUrl(['https:'], 'an https URL').optional().describe('What agents dial, without the /mcp path. Default: https:// and the host and port of `listen`'),
  enrollUrl: httpUrl(['https:'], 'an https URL').optional().describe('What agents dial to enroll and renew. Default: https:// and the host and port of `enroll`'),
  allowedHosts: z.array(hostName).optional().describe('Host names accepted in the Host header. Default: the hosts of `url`, `enrollUrl` and `listen`, and the loopback names when it listens on loopback'),
  allowedOrigins: z.array(origin).default([]).describe('Origins of web pages that may call the gateway; a request with any other Origin is refused'),
  minTlsVersion: z.enum(['TLSv1.3', 'TLSv1.2'], { error: 'must be TLSv1.3 or TLSv1.2' }).default('TLSv1.3').describe('Oldest TLS version accepted'),
  aggregate: z.boolean('must be true or false').default(false).describe('Offer all upstreams as one at /mcp, with names such as warehouse__query; each stays at /<name>/mcp too'),
  proxies: z.array(text().min(1)).default([]).describe('Principals that may name the caller in Client-Cert (RFC 9440), such as spiffe://acme.internal/agent/edge or corp/dns:lb.corp.example; from anybody else such a header is refused'),
  eras: z.enum(['both', 'legacy', 'modern'], { error: 'must be both, legacy or modern' }).default('both').describe('Protocol eras served: legacy is 2024-11-05 to 2025-11-25, modern is 2026-07-28'),
  limits: limits.prefault({}).describe('Caps for each agent'),
});

/** What fits together is checked by `contradictionsIn`, with the rules of the authority. */
const profile = z.strictObject({
  kind: z.enum(['agent', 'agent-spiffe', 'server', 'console-user'], { error: 'must be agent, agent-spiffe, server or console-user' }).describe('What the certificates are for: clients, clients that also serve, servers, or people who administer'),
  defaultTtl: text().optional().describe('Lifetime when none is asked for'),
  maxTtl: text().optional().describe('Longest lifetime'),
  minTtl: text().optional().describe('Shortest lifetime'),
  backdateSeconds: count(0, 3_600).optional().describe('How far notBefore lies in the past, for peers whose clock is slow'),
  keyAlgorithms: z.array(z.enum(keyAlgorithms)).optional().describe('Subject keys accepted'),
  organization: text().optional().describe('O attribute of every subject'),
  names: z.array(text()).optional().describe('Names that may be granted, as patterns of the whole name with * for any characters'),
  organizationalUnits: z.array(text()).optional().describe('Organizational units that may be granted, as patterns'),
  requiredOrganizationalUnits: z.array(text()).optional().describe('Patterns each of which an organizational unit of the certificate must meet'),
  spiffePath: text().optional().describe('Path of the SPIFFE ID of an agent, such as /agent/{name}, the default, or /ns/{ou}/{name}'),
  dnsSuffixes: z.array(text()).optional().describe('Domains of a server, and the names below them'),
  ipRanges: z.array(text()).optional().describe('Address ranges of a server, such as 10.0.0.0/8'),
  emailDomains: z.array(text()).optional().describe('Domains of the email address of a console user'),
  status: z.enum(['crl', 'noRevAvail'], { error: 'must be crl or noRevAvail' }).optional().describe('noRevAvail: short-lived, RFC 9608, at most 7 days'),
  mayIssue: z.array(z.enum(issuanceWays, { error: `must be some of ${issuanceWays.join(', ')}` })).optional().describe('Ways on which such a certificate may be issued: operator, token, est, acme, renewal, api. Default: all that its kind has'),
  approval: z.enum(['none', 'required'], { error: 'must be none or required' }).optional().describe('required: a second person must approve before such a certificate is issued; renewals are not asked about'),
});

const requests = z.strictObject({
  expiry: duration().prefault('7d').describe('Time a request for a certificate waits to be approved, and then to be collected'),
  maxPending: count(1, 100_000).default(1_000).describe('Requests that may wait at once; more are refused'),
});

const crl = z.strictObject({
  lifetime: duration().prefault('24h').describe('From thisUpdate to nextUpdate of a CRL; a new one comes at half of it, and after revocations'),
  partitions: count(1, 256).refine((number) => (number & (number - 1)) === 0, 'must be a power of two').default(1).describe('CRLs over which the certificates of an issuing CA are spread by the last bits of their serials; more than one needs `publicUrl`. Certificates keep what they were issued with'),
  delta: z.boolean('must be true or false').default(false).describe('Publish delta CRLs too, for verifiers that take them; needs `publicUrl`'),
  deltaLifetime: duration().prefault('1h').describe('From thisUpdate to nextUpdate of a delta CRL'),
});

const ca = z.strictObject({
  keyAlgorithm: z.enum(keyAlgorithms, { error: `must be one of ${keyAlgorithms.join(', ')}` }).default('p256').describe('Keys made for agents and servers'),
  defaultTtl: duration().prefault('24h').describe('Lifetime of an agent certificate when none is asked for'),
  maxTtl: duration().prefault('90d').describe('Longest lifetime of an agent certificate'),
  serverTtl: duration().prefault('90d').describe('Lifetime of the gateway\'s own certificate'),
  maxLivePerAgent: count(1, 1_000).default(2).describe('Live certificates one agent may hold; two, so that a renewal overlaps'),
  retireReplaced: z.union([z.literal('never'), duration()], { error: 'must be a duration, or never' }).prefault('1h').register(typeNames, { type: 'duration | never' }).describe('How long a certificate that was renewed is good beside its successor, from the first use of that one; then it is revoked as superseded. never: until it expires'),
  crl: crl.prefault({}).describe('Revocation lists'),
  ocsp: z.boolean('must be true or false').default(true).describe('Answer OCSP requests at /ocsp of the public listener, and staple such answers to the gateway\'s own certificate'),
  acme: acme.prefault({}).describe('The ACME server'),
  est: z.boolean('must be true or false').default(true).describe('Serve Enrollment over Secure Transport (RFC 7030) at /.well-known/est/ of the enrollment listener'),
  renewalGrace: durationOrNone().prefault('0s').describe('Time after its end in which a certificate may still be renewed with proof of its key, at most 90d; 0s for none. Revoking an agent reaches certificates within it'),
  refusedKeys: z.array(z.string('must be a text').regex(/^[0-9a-f]{64}$/, 'must be the lower-case hexadecimal SHA-256 of a SubjectPublicKeyInfo')).default([]).describe('Keys that are never certified, such as ones known to be public: the SHA-256 of the SubjectPublicKeyInfo of each, in lower-case hexadecimal'),
  requests: requests.prefault({}).describe('Certificates that a second person must approve'),
  profiles: z.record(z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'a profile name is 1 to 32 lower-case letters, digits and hyphens'), profile).default({}).describe('Kinds of certificates besides, or in place of, agent, agent-spiffe, server, short-lived and console-user'),
});

const audit = z.strictObject({
  maxDelayMs: count(0, 60_000).default(50).describe('Longest time a decision waits to be written together with others'),
  arguments: z.enum(['digest', 'full'], { error: 'must be digest or full' }).default('digest').describe('What the log keeps of tool arguments: their SHA-256, or all of them'),
});

const variables = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable'), text());

/** Enforced by the kernel; where it cannot, they are refused. */
const commandLimits = z.strictObject({
  memoryBytes: count(1_048_576, 1_125_899_906_842_624).optional().describe('Private memory of each process (RLIMIT_DATA), of which Node.js reserves about 600 MiB for itself; Linux only, as are the other limits'),
  cpuSeconds: count(1, 31_536_000).optional().describe('Processor time of each process (RLIMIT_CPU)'),
  openFiles: count(16, 1_048_576).optional().describe('Open files of each process (RLIMIT_NOFILE)'),
  processes: count(1, 4_194_304).optional().describe('Processes and threads of the user that the gateway runs as, all together (RLIMIT_NPROC)'),
});

const commandUpstream = z.strictObject({
  command: z.array(text().min(1)).min(1, 'must hold at least the program').describe('Program and arguments of an MCP server on stdio; one process for each session, or for the modern requests of each agent'),
  env: variables.default({}).describe('Environment variables for the program, besides PATH, HOME and the like'),
  inheritEnv: z.array(z.string().regex(/^(?!SALLYPORT_)[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable, and not one of the gateway\'s own')).default([]).describe('Further environment variables of the gateway that the program gets to see'),
  cwd: text().min(1).optional().describe('Directory to run in, relative to the data directory; it must be there at the start'),
  era: z.enum(['auto', 'legacy', 'modern', 'both'], { error: 'must be auto, legacy, modern or both' }).default('auto').describe('Protocol eras the program speaks; auto asks it once, in a process of its own'),
  limits: commandLimits.prefault({}).describe('What the program may use of the machine'),
  idleMs: count(1_000, 604_800_000).default(600_000).describe('A process of modern requests, one for each agent, ends after this time with nothing to do'),
});

const headerName = () => z.string('must be a header name').regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, 'must be a header name');

const upstreamTls = z.strictObject({
  ca: text().min(1).optional().describe('PEM file of the CAs that may sign the certificate of the MCP server, relative to the data directory. Default: the CAs Node.js trusts'),
  cert: text().min(1).optional().describe('PEM file of the certificate the gateway shows the MCP server, with what leads from it to the CA'),
  key: text().min(1).optional().describe('PEM file of the private key of `tls.cert`, not encrypted and readable by its owner alone'),
  serverName: z.string('must be a host name').regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, 'must be a lower-case host name').optional().describe('Name the certificate of the MCP server must hold. Default: the host of `url`'),
});

const credential = z.strictObject({
  header: headerName().default('Authorization').describe('Header the credential goes into'),
  scheme: z.string('must be one word').regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/, 'must be one word').optional().describe('Word before the credential. Default: Bearer in Authorization, none in other headers'),
  fromEnv: z.string('must be the name of an environment variable').regex(/^(?!SALLYPORT_)[A-Za-z_][A-Za-z0-9_]*$/, 'must be the name of an environment variable, and not one of the gateway\'s own').optional().describe('Environment variable of the gateway that holds it, read at start'),
  fromFile: text().min(1).optional().describe('File that holds it, relative to the data directory, read again when it changes. With {commonName} in it each agent has its own'),
  onMissing: z.enum(['deny', 'omit'], { error: 'must be deny or omit' }).optional().describe('What becomes of the request of an agent that has no file of its own: refused, or sent without. Default: deny'),
});

const urlUpstream = z.strictObject({
  url: httpUrl(['http:', 'https:'], 'an http or https URL').describe('Address of an MCP server on Streamable HTTP'),
  era: z.enum(['auto', 'legacy', 'modern', 'both'], { error: 'must be auto, legacy, modern or both' }).default('auto').describe('Eras the MCP server speaks; auto asks it'),
  tls: upstreamTls.optional().describe('What both sides show each other over https; changed files are taken over at once'),
  credential: credential.optional().describe('What the MCP server takes as proof that it may be called'),
  identity: z.enum(['none', 'headers', 'signed'], { error: 'must be none, headers or signed' }).default('none').describe('What the MCP server learns about the agent: nothing, x-sallyport-* headers, or a token in x-sallyport-identity signed with the key at /.well-known/jwks.json'),
  headers: z.record(headerName(), text().regex(/^[\t\u0020-\u007e]*$/, 'must be visible ASCII')).default({}).describe('Headers added to every request, such as an Authorization of the gateway\'s own'),
});

const upstream = z.union([commandUpstream, urlUpstream], { error: 'must hold either command (a list) or url' });

const upstreamName = z.string().regex(/^(?!mcp$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'an upstream name is 1 to 63 lower-case letters, digits and dashes, and not mcp');

for (const [key, type] of Object.entries({ role: 'text', roles: 'list of texts', when: 'map', profiles: 'list of texts', organizationalUnits: 'list of texts' }) as [keyof typeof adminSchema.shape, string][]) typeNames.add(adminSchema.shape[key], { type });

export const configSchema = z.strictObject({
  name: text().min(1).max(64).default('Sallyport').describe('Name of the organization, in the subject of the CA certificates'),
  trustDomain: z.string().regex(/^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$/, 'must be a lower-case name such as acme.internal').default('sallyport.internal').describe('SPIFFE trust domain: agents are spiffe://<trust domain>/agent/<name>'),
  publicUrl: httpUrl(['http:', 'https:'], 'an http or https URL').optional().describe('Where others reach the public listener; goes into certificates as CRL, issuer and OCSP address. Absent: certificates carry none'),
  gateway: gateway.prefault({}).describe('The listeners'),
  ca: ca.prefault({}).describe('What is issued'),
  store: text().regex(/^(sqlite:.+|postgres(ql)?:\/\/.+)$/, 'must be sqlite:<file>, or postgres://…').default('sqlite:sallyport.db').describe('Where certificates, tokens and the audit log are kept: sqlite:<file relative to the data directory>, or postgres://…'),
  policy: text().min(1).default('policy.yaml').describe('The policy file, relative to the data directory'),
  trust: z.union([z.record(trustName, trustAnchor), z.null().transform(() => ({}))], { error: 'must be a map of names to anchors' }).default({}).describe('CAs of others whose certificates may connect beside ours (docs/trust.md)'),
  audit: audit.prefault({}).describe('The audit log'),
  admins: z.array(adminSchema).max(1_000).default([]).register(typeNames, { type: 'list of maps' }).describe('Who may do what to the authority over its HTTP API; nobody who is not named. docs/api.md tells the roles'),
  upstreams: z.union([z.record(upstreamName, upstream), z.null().transform(() => ({}))], { error: 'must be a map of names to upstreams' }).default({}).describe('MCP servers behind the gateway. One alone is served at /mcp, several at /<name>/mcp'),
  log: z.strictObject({ level: z.enum(logLevels, { error: `must be one of ${logLevels.join(', ')}` }).default('info').describe('Least severe log level written') }).prefault({}).describe('The log, on standard error'),
});

export type ConfigFile = z.output<typeof configSchema>;
export type UpstreamConfig = z.output<typeof upstream>;
export type CommandUpstreamConfig = z.output<typeof commandUpstream>;
export type UrlUpstreamConfig = z.output<typeof urlUpstream>;

/** Which keys may stand at a path, for "did you mean". */
export function configKeysAt(path: readonly PropertyKey[]): readonly string[] {
  if (path.length === 0) return Object.keys(configSchema.shape);
  const [first, second] = path;
  if (first === 'upstreams' && path[2] === 'limits') return Object.keys(commandLimits.shape);
  if (first === 'upstreams' && path[2] === 'tls') return Object.keys(upstreamTls.shape);
  if (first === 'upstreams' && path[2] === 'credential') return Object.keys(credential.shape);
  if (first === 'upstreams') return [...Object.keys(commandUpstream.shape), ...Object.keys(urlUpstream.shape)];
  if (first === 'gateway') return Object.keys(second === 'limits' ? limits.shape : gateway.shape);
  if (first === 'ca') return Object.keys(second === 'profiles' ? profile.shape : second === 'crl' ? crl.shape : second === 'acme' ? acme.shape : second === 'requests' ? requests.shape : ca.shape);
  if (first === 'trust') return trustKeysAt(path.slice(2));
  if (first === 'admins') return Object.keys(path[2] === 'when' ? adminWhen.shape : adminSchema.shape);
  if (first === 'audit') return Object.keys(audit.shape);
  return first === 'log' ? ['level'] : [];
}

export interface ConfigReferenceRow {
  /** Dotted. */
  readonly key: string;
  readonly type: string;
  /** As it would be written in the file; undefined when there is none. */
  readonly default: string | undefined;
  readonly description: string;
}

/** One row for each key, in the order of the schema. */
export function configReference(): readonly ConfigReferenceRow[] {
  return [
    ...rowsOf(configSchema, ''),
    ...rowsOf(profile, 'ca.profiles.<name>.'),
    ...rowsOf(trustAnchor, 'trust.<name>.'),
    ...rowsOf(adminSchema, 'admins.<number>.'),
    ...rowsOf(commandUpstream, 'upstreams.<name>.'),
    ...rowsOf(urlUpstream, 'upstreams.<name>.'),
  ].toSorted((a, b) => topLevel(a.key) - topLevel(b.key));
}

const topLevel = (key: string): number => Object.keys(configSchema.shape).indexOf(key.split('.', 1)[0] ?? '');

function rowsOf(object: z.ZodObject, prefix: string): readonly ConfigReferenceRow[] {
  return Object.entries(object.shape).flatMap(([key, schema]) => {
    const inner = unwrap(schema as z.ZodType);
    if (inner instanceof z.ZodObject && !typeNames.has(schema as z.ZodType)) return rowsOf(inner, `${prefix}${key}.`);
    return [{ key: prefix + key, type: typeOf(schema as z.ZodType), default: defaultOf(schema as z.ZodType), description: (schema as z.ZodType).description ?? '' }];
  });
}

function unwrap(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault || schema instanceof z.ZodOptional) return unwrap(schema.unwrap() as z.ZodType);
  return schema;
}

function defaultOf(schema: z.ZodType): string | undefined {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault) {
    const value: unknown = schema.def.defaultValue;
    return typeof value === 'string' ? value : JSON.stringify(value);
  }
  return undefined;
}

function typeOf(schema: z.ZodType): string {
  for (let at: z.ZodType = schema; ; at = (at as z.ZodOptional).unwrap() as z.ZodType) {
    const named = typeNames.get(at);
    if (named !== undefined) return named.type;
    if (!(at instanceof z.ZodDefault || at instanceof z.ZodPrefault || at instanceof z.ZodOptional)) return plainType(at);
  }
}

function plainType(schema: z.ZodType): string {
  if (schema instanceof z.ZodEnum) return schema.options.join(' | ');
  if (schema instanceof z.ZodBoolean) return 'true | false';
  if (schema instanceof z.ZodNumber) return 'integer';
  if (schema instanceof z.ZodString) return 'text';
  if (schema instanceof z.ZodArray) return 'list of texts';
  return 'map';
}
