/** The shape of policy.yaml. Strict: a misspelt key is an error, never a rule that silently does nothing. */
import { z } from 'zod';
import { parseDuration } from '../config/duration.ts';

const patternLength = 512;
const wildcards = 16;

const roleName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'a role name is 1 to 64 letters, digits, dots, dashes or underscores, beginning with a letter or digit');

export const pattern = z
  .string('must be a text: quote it')
  .min(1, 'an empty pattern matches nothing: remove it')
  .max(patternLength, `a pattern has at most ${patternLength} characters`)
  .refine((text) => (text.match(/\*+/g)?.length ?? 0) <= wildcards, `a pattern has at most ${wildcards} wildcards`)
  .refine((text) => text.isWellFormed(), 'must be well-formed Unicode')
  .refine((text) => !controlCharacters.test(text), 'must not hold control characters');
const controlCharacters = /\p{Cc}/u;

/** Nothing written (`tools:` and no more) is an empty list. */
export const list = <Item extends z.ZodType>(item: Item) =>
  z.union([z.array(item).max(10_000, 'at most 10,000 entries'), z.null().transform(() => []), item.transform((one) => [one])], { error: 'must be a list' });

const toolRule = z.union(
  [
    pattern,
    z.strictObject({
      name: pattern,
      arguments: z.union([z.record(z.string(), z.unknown()), z.boolean()], { error: 'must be a JSON Schema: a map such as { properties: … }' }),
    }),
  ],
  { error: 'must be a tool name pattern, or { name: …, arguments: JSON Schema }' },
);

const grantShape = {
  upstream: list(pattern).refine((patterns) => patterns.length > 0, 'name at least one upstream'),
  tools: list(toolRule).optional(),
  resources: list(pattern).optional(),
  prompts: list(pattern).optional(),
  logging: z.boolean('must be true or false').optional(),
};

const grantsSomething = (grant: { tools?: unknown; resources?: unknown; prompts?: unknown; logging?: unknown }): boolean =>
  grant.tools !== undefined || grant.resources !== undefined || grant.prompts !== undefined || grant.logging !== undefined;

const grant = z.strictObject(grantShape).refine(grantsSomething, 'says nothing: add tools, resources, prompts or logging');

const rate = z
  .string('must be a text such as 100/min')
  .transform((text, context) => {
    const parts = /^([0-9]{1,9})\/(s|sec|min|h|hour|d|day)$/.exec(text);
    const unit = { s: '1s', sec: '1s', min: '1m', h: '1h', hour: '1h', d: '1d', day: '1d' }[parts?.[2] ?? ''];
    if (parts === null || unit === undefined || Number(parts[1]) === 0) {
      context.addIssue('must be a rate such as 100/min (per s, min, h or d)');
      return z.NEVER;
    }
    return { count: Number(parts[1]), perMs: parseDuration(unit) ?? 0 };
  });

const limits = z.strictObject({
  calls: rate.optional(),
  concurrent: z.int('must be a whole number').min(1, 'must be at least 1').max(1_000_000).optional(),
});

const role = z.strictObject({
  description: z.string().max(1_000).optional(),
  grants: list(grant).default([]),
  deny: list(grant).default([]),
  limits: limits.optional(),
});

const values = list(pattern).refine((patterns) => patterns.length > 0, 'name at least one value');

const hex = (digits: string, what: string) =>
  list(
    z
      .string('must be a text: quote it')
      .transform((text) => text.replaceAll(':', '').toLowerCase())
      .refine((text) => new RegExp(`^[0-9a-f]{${digits}}$`).test(text), `must be ${what} in hexadecimal, without wildcards`),
  ).refine((items) => items.length > 0, 'name at least one value');

export const when = z.strictObject({
  trust: values.optional(),
  organizationalUnit: values.optional(),
  organization: values.optional(),
  commonName: values.optional(),
  uri: values.optional(),
  dns: values.optional(),
  email: values.optional(),
  issuer: hex('64', 'the SHA-256 of the issuer key').optional(),
  serial: hex('1,40', 'a serial').transform((serials) => serials.map((serial) => serial.replace(/^(00)+(?=..)/, ''))).optional(),
  thumbprint: hex('64', 'the SHA-256 of a certificate').optional(),
  dangerouslyAnyCertificate: z.literal(true, 'can only be true: to match nobody, remove the binding').optional(),
});

const binding = z.strictObject({
  role: list(roleName).optional(),
  roles: list(roleName).optional(),
  when,
});

const verdict = z.enum(['allow', 'deny'], 'must be allow or deny');

export const policySchema = z.strictObject({
  roles: z.union([z.record(roleName, role), z.null().transform(() => ({}))], { error: 'must be a map of role names to roles' }).default({}),
  bindings: list(binding).default([]),
  onToolChange: verdict.default('allow'),
  onNewTool: verdict.default('allow'),
});

export type PolicyInput = z.output<typeof policySchema>;
export type GrantInput = z.output<typeof grant>;
export type RoleInput = z.output<typeof role>;
export type BindingInput = z.output<typeof binding>;
export type WhenInput = z.output<typeof when>;

/** Which keys may stand at a path, for "did you mean". */
export function policyKeysAt(path: readonly PropertyKey[]): readonly string[] {
  const shape = path.filter((step) => typeof step !== 'number');
  if (shape.length === 0) return Object.keys(policySchema.shape);
  if (shape[0] === 'bindings') return Object.keys(shape[1] === 'when' ? when.shape : binding.shape);
  if (shape.length === 2) return Object.keys(role.shape);
  if (shape[2] === 'limits') return Object.keys(limits.shape);
  if (shape[3] === 'tools') return ['name', 'arguments'];
  return Object.keys(grantShape);
}
