/** What goes in and out of the HTTP API. Strict: a member nobody knows is an error, in both directions. */
import { z } from 'zod';
import { revocationReasons } from '../../ca/revocation.ts';

export const hash = () => z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hexadecimal digits');
export const serial = () => z.string().regex(/^[0-9a-f]{1,40}$/, 'must be a serial: at most 40 lower-case hexadecimal digits');
const moment = () => z.iso.datetime({ offset: true });
const name = () => z.string().min(1).max(253);
/** Of a CA (`issuing-2`) or the SHA-256 of its key. */
export const issuerWord = () => z.string().regex(/^([a-z][a-z0-9-]{0,31}|[0-9a-f]{64})$/, 'must be the name of a CA, or the SHA-256 of its key');

export const reason = () => z.enum(revocationReasons as [string, ...string[]] & typeof revocationReasons);
export const certificateStatus = z.enum(['live', 'expired', 'held', 'revoked', 'unknownIssued', 'intent']);
const units = () => z.array(z.string().min(1).max(64)).max(32);

export const certificate = z
  .strictObject({
    serial: serial(),
    issuer: hash().describe('SHA-256 of the key of the CA that issued it'),
    thumbprint: hash().nullable().describe('SHA-256 of the certificate; null until it was issued'),
    status: certificateStatus,
    agent: z.string(),
    profile: z.string(),
    subject: z.string(),
    organizationalUnits: z.array(z.string()),
    uri: z.string().nullable(),
    dnsNames: z.array(z.string()),
    spkiHash: hash(),
    notBefore: moment(),
    notAfter: moment(),
    createdAt: moment(),
    replaces: serial().nullable(),
    revokedAt: moment().nullable(),
    revocationReason: reason().nullable(),
    firstSeenAt: moment().nullable().describe('When a gateway first accepted it'),
  })
  .meta({ id: 'Certificate' });

export const issued = z
  .strictObject({
    certificate,
    pem: z.string().describe('The certificate alone'),
    chain: z.string().describe('With what leads to the root: what goes into cert.pem'),
    roots: z.string().describe('Every root to be trusted: what goes into ca.pem'),
  })
  .meta({ id: 'IssuedCertificate' });

const grant = z
  .strictObject({
    upstream: z.string().describe('Pattern, as the policy writes it, like the others here'),
    tools: z.array(z.string()),
    resources: z.array(z.string()),
    prompts: z.array(z.string()),
    logging: z.boolean(),
    argumentRules: z.array(z.string()).describe('Those of `tools` for which only some arguments are allowed'),
    denied: z.array(z.string()),
    roles: z.array(z.string()),
  })
  .meta({ id: 'Grant' });

export const newlyIssued = z
  .strictObject({
    ...issued.shape,
    grants: z.array(grant).describe('What the policy of the gateway gives it at present'),
    gateway: z.string().describe('Where an agent finds the gateway'),
    renewal: z.string().describe('Where the certificate is renewed'),
  })
  .meta({ id: 'NewCertificate' });

export const page = <Item extends z.ZodType>(item: Item) => z.strictObject({ items: z.array(item), next: z.string().nullable().describe('`cursor` of the next page; null at the end') });

/** How many, and where to go on. */
export const paging = { limit: z.coerce.number().int().min(1).max(500).default(100), cursor: z.string().max(400).optional() };

export const certificateFilter = z.strictObject({
  agent: name().optional(),
  serial: serial().optional(),
  thumbprint: hash().optional(),
  spkiHash: hash().optional(),
  issuer: issuerWord().optional(),
  status: certificateStatus.optional(),
  profile: name().optional(),
  organizationalUnit: name().optional(),
  createdFrom: moment().optional(),
  createdBefore: moment().optional(),
  expiresBefore: moment().optional(),
  ...paging,
});

export const issueBody = z
  .strictObject({
    csr: z.string().min(1).max(24_576).describe('PKCS#10 in PEM. Only its key is used; keys never travel'),
    agent: name().optional().describe('Name of the agent; of a server certificate `hosts` in its place'),
    hosts: z.array(name()).min(1).max(100).optional().describe('Host names and addresses of a server certificate'),
    profile: name().optional().describe('Default: agent, or server with `hosts`'),
    organizationalUnits: units().optional(),
    email: z.string().max(254).optional().describe('Of a person: profiles of kind console-user only'),
    ttl: z.string().max(16).optional().describe('Lifetime, such as 24h. Default: that of the profile'),
    allowRevoked: z.boolean().optional().describe('Issue although this agent was revoked before'),
  })
  .refine(({ agent, hosts }) => (agent === undefined) !== (hosts === undefined), 'give either agent or hosts')
  .refine(({ hosts, organizationalUnits, email, allowRevoked }) => hosts === undefined || (organizationalUnits === undefined && email === undefined && allowRevoked === undefined), 'a server certificate has neither organizational units nor email nor allowRevoked')
  .meta({ id: 'IssueRequest' });

const selector = {
  agent: name().optional(),
  serial: serial().optional(),
  thumbprint: hash().optional(),
};

export const revokeBody = z
  .strictObject({
    ...selector,
    spkiHash: hash().optional(),
    issuer: issuerWord().optional(),
    profile: name().optional(),
    organizationalUnit: name().optional(),
    issuedFrom: moment().optional(),
    issuedBefore: moment().optional(),
    reason: reason().default('unspecified'),
    dryRun: z.boolean().default(false).describe('Only say what would be revoked'),
    confirm: z.boolean().default(false).describe('Revoke more than one, other than those of one agent, instead of only saying which'),
  })
  .meta({ id: 'RevokeRequest' });

export const revocation = z
  .strictObject({
    dryRun: z.boolean().describe('Nothing was revoked yet'),
    reason: reason(),
    count: z.int(),
    certificates: z.array(certificate).describe('The first thousand'),
    alreadyRevoked: z.int(),
    gateways: z.array(z.strictObject({ node: z.string(), connectionsCut: z.int(), millis: z.number() })).describe('Those that have confirmed'),
    missing: z.array(z.strictObject({ node: z.string(), seenAt: moment() })).describe('Those that have not within two seconds'),
  })
  .meta({ id: 'Revocation' });

export const releaseBody = z.strictObject(selector).refine((given) => Object.values(given).some((value) => value !== undefined), 'name an agent, a serial or a thumbprint').meta({ id: 'ReleaseRequest' });

export const release = z
  .strictObject({ certificates: z.array(certificate), gateways: z.array(z.strictObject({ node: z.string() })), missing: z.array(z.strictObject({ node: z.string(), seenAt: moment() })) })
  .meta({ id: 'Release' });

export const token = z
  .strictObject({
    id: hash().describe('SHA-256 of its secret'),
    agent: z.string(),
    organizationalUnits: z.array(z.string()),
    profile: z.string(),
    certificateTtlSeconds: z.int().nullable(),
    createdAt: moment(),
    createdBy: z.string().nullable(),
    expiresAt: moment(),
    spentAt: moment().nullable(),
  })
  .meta({ id: 'Token' });

export const tokenBody = z
  .strictObject({
    agent: name(),
    organizationalUnits: units().optional(),
    profile: name().optional(),
    ttl: z.string().max(16).optional().describe('How long it may be used. Default: 15m, at most 7d'),
    certificateTtl: z.string().max(16).optional(),
  })
  .meta({ id: 'TokenRequest' });

export const createdToken = z.strictObject({ token: z.string().describe('Shown once'), agent: z.string(), organizationalUnits: z.array(z.string()), profile: z.string(), expiresAt: moment(), enrollUrl: z.string().describe('Where it is used') }).meta({ id: 'CreatedToken' });

export const requestState = z.enum(['pending', 'approved', 'issued', 'collected', 'denied', 'expired']);

export const request = z
  .strictObject({
    id: z.string(),
    state: requestState,
    agent: z.string(),
    profile: z.string(),
    organizationalUnits: z.array(z.string()),
    hosts: z.array(z.string()),
    email: z.string().nullable(),
    ttlSeconds: z.int(),
    way: z.string().describe('How it was asked for'),
    requestedBy: z.string(),
    vouchedBy: z.string().nullable(),
    address: z.string().nullable().describe('Where it came from'),
    wouldIssue: z
      .strictObject({ subject: z.string(), names: z.array(z.string()), lifetimeSeconds: z.int(), extendedKeyUsage: z.array(z.string()) })
      .nullable()
      .describe('By the profile as it is now; null when nothing would be issued'),
    problem: z.string().nullable().describe('Why nothing would be issued'),
    spkiHash: hash(),
    keyAlgorithm: z.string(),
    createdAt: moment(),
    expiresAt: moment(),
    decidedAt: moment().nullable(),
    decidedBy: z.string().nullable(),
    reason: z.string().nullable().describe('Of a denial'),
    serial: serial().nullable(),
  })
  .meta({ id: 'Request' });

export const crl = z.strictObject({ ca: z.string(), issuer: hash(), crlNumber: z.string().regex(/^[0-9]+$/), thisUpdate: moment(), nextUpdate: moment(), entries: z.int(), partitions: z.int().describe('CRLs it is divided into: the number is the highest of them, the times are the earliest') }).meta({ id: 'Crl' });

export const authority = z
  .strictObject({
    name: z.string(),
    id: hash().describe('SHA-256 of its key'),
    role: z.enum(['root', 'issuing']),
    status: z.enum(['prepared', 'active', 'superseded', 'retired']),
    subject: z.string(),
    serial: serial(),
    thumbprint: hash(),
    notBefore: moment(),
    notAfter: moment(),
    since: moment().nullable().describe('When it came to be so; null in a hierarchy that was never changed'),
    root: z.string().describe('Name of the root it stands under'),
    keyAlgorithm: z.string(),
    keyHere: z.boolean().describe('Whether this process can sign with it'),
    pem: z.string(),
  })
  .meta({ id: 'Authority' });

export const profile = z
  .strictObject({
    name: z.string(),
    kind: z.string(),
    extendedKeyUsage: z.array(z.string()),
    defaultTtlSeconds: z.int(),
    maxTtlSeconds: z.int(),
    keyAlgorithms: z.array(z.string()),
    status: z.string(),
    approval: z.enum(['none', 'required']).describe('Whether a second person must approve'),
  })
  .meta({ id: 'Profile' });

export const auditEntry = z
  .looseObject({ index: z.int(), time: moment(), action: z.string(), outcome: z.enum(['allowed', 'denied', 'done', 'failed']) })
  .describe('Further members as docs/audit.md describes them')
  .meta({ id: 'AuditEntry' });

export const problem = z
  .strictObject({
    type: z.string().describe('urn:sallyport:error:<code>'),
    title: z.string(),
    status: z.int(),
    code: z.string().describe('One of docs/errors.md'),
    detail: z.string().optional(),
    request: z.string().optional().describe('Of ERR_REQUEST_PENDING: the request that waits for approval'),
    problems: z.array(z.string()).optional().describe('What is wrong with the request, field by field'),
  })
  .meta({ id: 'Problem' });
