/** What can be told from a JSON Schema without trying it: whether anything satisfies it, and what it forgets. */
import type { JsonSchema } from './argument-rule.ts';

/** Why no tool arguments can satisfy the schema; undefined when none is apparent. */
export function impossibleBecause(schema: JsonSchema): string | undefined {
  if (schema === false) return 'the schema is false';
  if (schema === true) return undefined;
  if (!typesOf(schema).includes('object')) return 'tool arguments are always an object, and the schema asks for another type';
  return impossibleValue(schema);
}

/** Arguments that the schema restricts and that a call may leave out. */
export function optionalRestricted(schema: JsonSchema): readonly string[] {
  if (typeof schema === 'boolean') return [];
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const properties = isRecord(schema.properties) ? schema.properties : {};
  return Object.entries(properties)
    .filter(([name, property]) => !required.has(name) && isRecord(property) && restricts(property))
    .map(([name]) => name);
}

/** Regular expressions in which a repetition holds a repetition, such as `(a+)+`. */
export function slowPatterns(schema: unknown): readonly string[] {
  if (Array.isArray(schema)) return schema.flatMap(slowPatterns);
  if (!isRecord(schema)) return [];
  return Object.entries(schema).flatMap(([key, value]) => {
    if (key === 'pattern' && typeof value === 'string') return repeatsARepetition(value) ? [value] : [];
    if (key === 'patternProperties' && isRecord(value)) return [...Object.keys(value).filter(repeatsARepetition), ...slowPatterns(Object.values(value))];
    return slowPatterns(value);
  });
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value);

const restrictions = ['pattern', 'enum', 'const', 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'maxLength', 'minLength', 'maxItems', 'minItems', 'multipleOf', 'not'];

const restricts = (schema: Readonly<Record<string, unknown>>): boolean => restrictions.some((keyword) => schema[keyword] !== undefined);

function typesOf(schema: Readonly<Record<string, unknown>>): readonly unknown[] {
  if (schema.type === undefined) return ['object', 'string', 'number', 'integer', 'boolean', 'array', 'null'];
  return Array.isArray(schema.type) ? schema.type : [schema.type];
}

function impossibleValue(schema: unknown): string | undefined {
  if (schema === false) return 'a required argument has the schema false';
  if (!isRecord(schema)) return undefined;
  if (Array.isArray(schema.enum) && schema.enum.length === 0) return 'an enum is empty';
  for (const [low, high] of [['minimum', 'maximum'], ['minLength', 'maxLength'], ['minItems', 'maxItems'], ['minProperties', 'maxProperties']] as const) {
    const from = schema[low];
    const to = schema[high];
    if (typeof from === 'number' && typeof to === 'number' && from > to) return `${low} ${from} is greater than ${high} ${to}`;
  }
  const properties = isRecord(schema.properties) ? schema.properties : {};
  const required: readonly unknown[] = Array.isArray(schema.required) ? schema.required : [];
  for (const name of required) {
    if (typeof name !== 'string') continue;
    if (Object.hasOwn(properties, name)) {
      const inner = impossibleValue(properties[name]);
      if (inner !== undefined) return `${name} is required, but ${inner}`;
    } else if (schema.additionalProperties === false && schema.patternProperties === undefined) {
      return `${name} is required, but additionalProperties: false does not let it in`;
    }
  }
  if (Array.isArray(schema.allOf)) {
    for (const part of schema.allOf) {
      const inner = impossibleValue(part);
      if (inner !== undefined) return inner;
    }
  }
  return undefined;
}

function repeatsARepetition(pattern: string): boolean {
  // A group that holds +, * or {n,} and is itself repeated. Escapes and classes are blanked first.
  let text = pattern.replace(/\\./gs, 'x').replace(/\[[^\]]*\]/g, 'x');
  for (;;) {
    const group = /\((?:\?(?::|=|!|<=|<!|<[^>]*>))?([^()]*)\)([+*]|\{\d+,\d*\})?/.exec(text);
    if (group === null) return false;
    const [whole, inside = '', repetition] = group;
    const repeats = /[+*]|\{\d+,\d*\}/.test(inside);
    if (repetition !== undefined && repeats) return true;
    // The group becomes a letter that still says whether it repeats.
    text = text.slice(0, group.index) + (repeats || repetition !== undefined ? 'x*' : 'x') + text.slice(group.index + whole.length);
  }
}
