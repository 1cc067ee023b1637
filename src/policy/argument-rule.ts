/**
 * JSON Schema (draft 2020-12) on the arguments of a tool call. Compiled when the policy is loaded,
 * in strict mode: an unknown keyword or format, or a keyword without its type, is refused there,
 * since it would silently check nothing.
 */
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { ErrorObject } from 'ajv/dist/2020.js';

export interface ArgumentRule {
  readonly schema: JsonSchema;
  check(args: unknown): ArgumentVerdict;
}

export interface ArgumentVerdict {
  /** `uncheckable`: neither a grant nor an exception from a deny may rest on them. */
  readonly outcome: 'satisfied' | 'refused' | 'uncheckable';
  /** What the arguments lack, for audit and explanation. */
  readonly detail: string;
}

export type JsonSchema = boolean | Readonly<Record<string, unknown>>;

/** Compiled schemas of one policy; a new policy starts afresh, so nothing accumulates. */
export class ArgumentRules {
  readonly #ajv = new Ajv2020({
    strict: true,
    // `{ properties: { sql: … } }` with `required: [sql]` further up is common and means what it says.
    strictRequired: false,
    allowUnionTypes: true,
    allErrors: false,
    // Only own properties count: `toString` is not an argument.
    ownProperties: true,
    // Schemas are ours to give, never to fetch or to register under a name.
    addUsedSchema: false,
    logger: false,
  });

  /** Throws an Error whose message says what is wrong with the schema. */
  compile(schema: JsonSchema): ArgumentRule {
    if (typeof schema === 'object' && schema.$async !== undefined) throw new Error('$async is not supported');
    const completed = typeof schema === 'object' ? withObjectType(schema) : schema;
    const validate = this.#ajv.compile(completed);
    return {
      schema: completed,
      check: (args) => {
        try {
          const plain = plainArguments(args);
          return validate(plain) ? satisfied : { outcome: 'refused', detail: describe(validate.errors?.[0]) };
        } catch (error) {
          // Arguments nested beyond the stack, or of a kind JSON cannot hold.
          return { outcome: 'uncheckable', detail: error instanceof HostileArguments ? error.message : 'the arguments cannot be checked' };
        }
      },
    };
  }
}

/** Tool arguments are an object; saying so makes `properties` effective in strict mode. */
function withObjectType(schema: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  return schema.type === undefined && schema.$ref === undefined ? { ...schema, type: 'object' } : schema;
}

const satisfied: ArgumentVerdict = { outcome: 'satisfied', detail: '' };

class HostileArguments extends Error {}

const hostileKeys = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * The arguments as a schema sees them: `JSON.rawJSON` numbers (kept exact for the upstream) become
 * numbers, and keys that reach into prototypes are refused. What needs no change is not copied.
 */
function plainArguments(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (isRawJson(value)) return JSON.parse(value.rawJSON);
  if (Array.isArray(value)) {
    const items: unknown[] = value;
    const plain = items.map(plainArguments);
    return plain.every((item, index) => Object.is(item, items[index])) ? value : plain;
  }
  let copy: Record<string, unknown> | undefined;
  const object = value as Record<string, unknown>;
  for (const key of Object.keys(object)) {
    if (hostileKeys.has(key)) throw new HostileArguments(`the key ${key} is not allowed in arguments`);
    const plain = plainArguments(object[key]);
    if (Object.is(plain, object[key])) continue;
    copy ??= { ...object };
    copy[key] = plain;
  }
  return copy ?? value;
}

/** `JSON.isRawJSON` of ECMAScript's source text access; not yet in the type library. */
const isRawJson = (value: object): value is { readonly rawJSON: string } =>
  (JSON as unknown as { isRawJSON?: (value: unknown) => boolean }).isRawJSON?.(value) === true;

function describe(error: ErrorObject | undefined): string {
  if (error === undefined) return 'the arguments do not satisfy the schema';
  const where = error.instancePath === '' ? 'arguments' : `arguments${error.instancePath}`;
  const extra = error.keyword === 'additionalProperties' ? ` (${String((error.params as { additionalProperty?: unknown }).additionalProperty)})` : '';
  return `${where} ${error.message ?? 'do not satisfy the schema'}${extra}`;
}
