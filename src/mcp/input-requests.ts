/** What an MCP server may ask of an MCP client, and what the client must have declared for it. */
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

const kinds: ReadonlySet<string> = new Set(['sampling/createMessage', 'elicitation/create', 'roots/list']);

/** Whether there is such a question in the modern era. */
export const isInputRequest = (method: string): boolean => kinds.has(method);

/**
 * The capability that a question needs and the client did not declare, as `elicitation.url`. A bare
 * `elicitation` stands for forms, as it did before there were modes.
 */
export const missingCapability = (method: string, params: Fields, declared: Fields): string | undefined => {
  const [name, member] = required(method, params);
  const capability = declared[name];
  if (!isObject(capability)) return name;
  if (member === undefined || capability[member] !== undefined) return undefined;
  if (name === 'elicitation' && member === 'form' && capability.url === undefined) return undefined;
  return `${name}.${member}`;
};

/** Of all questions of a modern result, as `missingCapability`; undefined when some question is none that there is. */
export const missingCapabilities = (inputRequests: unknown, declared: Fields): readonly string[] | undefined => {
  if (inputRequests === undefined) return [];
  if (!isObject(inputRequests)) return undefined;
  const missing = new Set<string>();
  for (const question of Object.values(inputRequests)) {
    if (!isObject(question) || typeof question.method !== 'string' || !isInputRequest(question.method)) return undefined;
    const one = missingCapability(question.method, isObject(question.params) ? question.params : {}, declared);
    if (one !== undefined) missing.add(one);
  }
  return [...missing];
};

const required = (method: string, params: Fields): readonly [string, string | undefined] => {
  if (method === 'roots/list') return ['roots', undefined];
  if (method === 'elicitation/create') return ['elicitation', params.mode === 'url' ? 'url' : 'form'];
  return ['sampling', params.tools !== undefined || params.toolChoice !== undefined ? 'tools' : undefined];
};
