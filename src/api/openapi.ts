/** The OpenAPI 3.1 description of the API, made of the schemas that it checks with. */
import { z } from 'zod';
import { rolesFor } from '../admin/roles.ts';
import type { Operation } from './operation.ts';
import { operations } from './operations.ts';
import { problem } from './schemas.ts';

type Json = Readonly<Record<string, unknown>>;

export const describeApi = (version: string): Json => {
  const components = new Components();
  const problemContent = { 'application/problem+json': { schema: components.refer(problem, 'output') } };
  const paths: Record<string, Record<string, Json>> = {};
  for (const operation of operations) (paths[`/api/v1${operation.path}`] ??= {})[operation.method.toLowerCase()] = describe(operation, components, problemContent);
  paths['/api/v1/openapi.json'] = {
    get: {
      operationId: 'getDescription', tags: ['authority'], summary: 'This description', description: 'Any client certificate of the authority will do.',
      responses: { 200: { description: 'OpenAPI 3.1', content: { 'application/json': { schema: { type: 'object' } } } }, default: { description: 'A problem', content: problemContent } },
    },
  };
  return {
    openapi: '3.1.1',
    jsonSchemaDialect: 'https://json-schema.org/draft/2020-12/schema',
    info: { title: 'Sallyport certificate authority', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' }, description: 'On the enrollment port, with a client certificate of the authority. Roles come from `admins` in sallyport.yaml.' },
    servers: [{ url: 'https://localhost:8444', description: 'gateway.enrollUrl of sallyport.yaml' }],
    tags: [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: { schemas: components.schemas, securitySchemes: { clientCertificate: { type: 'mutualTLS', description: 'Roles come from the attributes of the certificate' } } },
    security: [{ clientCertificate: [] }],
  };
};

const describe = (operation: Operation, components: Components, problemContent: Json): Json => {
  const { id, tag, summary, description, action, status = 200, schemas, idempotent } = operation;
  const roles = action === 'anyRole' ? 'any role' : rolesFor(action).join(', ');
  const parameters = [...parametersOf(schemas.params, 'path'), ...parametersOf(schemas.query, 'query')];
  if (idempotent === true) parameters.push({ name: 'Idempotency-Key', in: 'header', required: false, schema: { type: 'string', minLength: 1, maxLength: 128 } });
  return {
    operationId: id,
    tags: [tag],
    summary,
    description: `${description === undefined ? '' : `${description} `}Roles: ${roles}.`,
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(schemas.body === undefined ? {} : { requestBody: { required: true, content: { 'application/json': { schema: components.refer(schemas.body, 'input') } } } }),
    responses: {
      [String(status)]: { description: 'Done', content: { 'application/json': { schema: components.refer(schemas.answer, 'output') } } },
      default: { description: 'A problem', content: problemContent },
    },
  };
};

const parametersOf = (schema: z.ZodObject | undefined, place: 'path' | 'query'): Json[] => {
  if (schema === undefined) return [];
  const { properties = {}, required = [] } = plain(schema, 'input') as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(properties).map(([name, { description, ...described }]) => ({ name, in: place, required: place === 'path' || required.includes(name), ...(description === undefined ? {} : { description }), schema: described }));
};

/** Schemas with a name stand once, under components. */
class Components {
  readonly schemas: Record<string, Json> = {};

  refer(schema: z.ZodType, io: 'input' | 'output'): Json {
    const { $defs = {}, ...described } = plain(schema, io) as { $defs?: Record<string, Json> } & Record<string, unknown>;
    for (const [name, definition] of Object.entries($defs)) this.schemas[name] = relinked(definition) as Json;
    return relinked(described) as Json;
  }
}

const plain = (schema: z.ZodType, io: 'input' | 'output'): Json => {
  const { $schema: _dialect, ...described } = z.toJSONSchema(z.strictObject({ it: schema }), {
    io,
    target: 'draft-2020-12',
    unrepresentable: 'throw',
    override: ({ jsonSchema }) => {
      // The format says it; the pattern of all calendars is for nobody to read.
      if (jsonSchema.format === 'date-time') delete jsonSchema.pattern;
    },
  }) as Record<string, unknown>;
  const { it } = described['properties'] as { it: Json };
  return described['$defs'] === undefined ? it : { ...it, $defs: described['$defs'] };
};

/** References within one schema become references within the description. */
const relinked = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(relinked);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([name, member]) => (name === 'id' && typeof member === 'string' ? [] : [[name, name === '$ref' && typeof member === 'string' ? member.replace('#/$defs/', '#/components/schemas/') : relinked(member)]])));
};
