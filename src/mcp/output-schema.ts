/**
 * Output schemas of tools for the legacy era, where `structuredContent` and its schema must be objects
 * (revision 2025-11-25, tools): anything else goes into the property `result`.
 */
import { numberOf } from './lossless-json.ts';
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

export const isObjectSchema = (schema: Fields): boolean => schema.type === 'object';

export const wrappedSchema = (schema: Fields): Fields => ({
  // The dialect is declared at the root.
  ...(typeof schema.$schema === 'string' ? { $schema: schema.$schema } : {}),
  type: 'object',
  properties: { result: moved(schema, 'schema') },
  required: ['result'],
});

/** What the members of an object are: keywords, names of schemas, or data that only looks like a schema. */
type Position = 'schema' | 'names';

const namesOfSchemas: ReadonlySet<string> = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependencies']);
const data: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'examples']);
const references: ReadonlySet<string> = new Set(['$ref', '$dynamicRef']);

/** References to the root of the schema lead to its new place. */
const moved = (value: unknown, position: Position): unknown => {
  if (Array.isArray(value)) return value.map((one: unknown) => moved(one, 'schema'));
  if (!isObject(value) || numberOf(value) !== undefined) return value;
  // An identifier of its own is a base of its own: references below it do not lead to our root.
  if (position === 'schema' && typeof value.$id === 'string' && !value.$id.startsWith('#')) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, position === 'names' ? moved(member, 'schema') : movedKeyword(name, member)]));
};

const movedKeyword = (name: string, member: unknown): unknown => {
  if (references.has(name) && typeof member === 'string') return /^#(?:\/|$)/.test(member) ? `#/properties/result${member.slice(1)}` : member;
  if (data.has(name)) return member;
  return moved(member, namesOfSchemas.has(name) ? 'names' : 'schema');
};
