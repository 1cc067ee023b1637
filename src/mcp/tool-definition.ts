/** What a tool says about itself, in a form that can be told apart from what it said before. */
import { hash } from 'node:crypto';
import { SallyportError } from '../errors.ts';
import { numberOf, parseLossless, stringifyLossless } from './lossless-json.ts';
import { isObjectSchema, wrappedSchema } from './output-schema.ts';
import { scanParamHeaders } from './param-headers.ts';
import type { ParamHeader } from './param-headers.ts';
import { isObject } from './read-messages.ts';

export interface ToolDefinition {
  readonly name: string;
  /** `sha256:<hex>` of `canonical`. */
  readonly digest: string;
  /** Canonical JSON (members sorted, numbers as they were given) of all that counts. */
  readonly canonical: string;
  /** Headers that mirror arguments; undefined when the annotations break the rules. */
  readonly paramHeaders: readonly ParamHeader[] | undefined;
}

/**
 * Members that do not count. Everything else does, `_meta` and members of later revisions included:
 * a model is steered by any text that reaches it, and a client by any flag. Icons are pictures for
 * people, often behind signed addresses that differ in each listing. `execution` (how a task is asked
 * for) is of the legacy era only, and a definition is one in both.
 */
const uncounted: ReadonlySet<string> = new Set(['icons', 'execution']);

/** Longer names nobody calls, and no database has to keep them, nor control characters or half characters. */
const maxNameLength = 1_024;
const control = /\p{Cc}/u;

/**
 * Reads one element of a `tools/list` result, as `parseLossless` gave it; undefined when it has no
 * name that can be kept.
 * @throws SallyportError `ERR_UPSTREAM_INVALID` when it is nested too deeply to be read
 */
export const readToolDefinition = (tool: unknown): ToolDefinition | undefined => {
  if (!isObject(tool) || typeof tool.name !== 'string' || !isKeepable(tool.name)) return undefined;
  const counted = Object.fromEntries(Object.entries(tool).filter(([member]) => !uncounted.has(member)));
  return definitionOf(tool.name, canonicalText(inLegacyForm(counted)), scanParamHeaders(tool.inputSchema));
};

/** The legacy era has output schemas of objects only: what a modern list says is brought into the form that a legacy list gives it. */
const inLegacyForm = (tool: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => {
  const { outputSchema } = tool;
  if (!isTree(outputSchema) || isObjectSchema(outputSchema)) return tool;
  // Refuses what is nested too deeply.
  canonicalText(outputSchema);
  return { ...tool, outputSchema: wrappedSchema(outputSchema) };
};

/** Two tools of one name in one list: which of them a client takes is anyone's guess, so both count. */
export const ambiguousDefinition = (first: ToolDefinition, second: ToolDefinition): ToolDefinition =>
  definitionOf(first.name, `[${first.canonical},${second.canonical}]`, undefined);

/** The schema in a canonical definition, as `parseLossless` reads it. */
export const inputSchemaOf = ({ canonical }: Pick<ToolDefinition, 'canonical'>): unknown => {
  const tool = parseLossless(canonical);
  return isObject(tool) ? tool.inputSchema : undefined;
};

export interface DefinitionChange {
  /** Such as `description` or `inputSchema.properties.path.description`. */
  readonly path: string;
  /** As it is where both are texts, else as JSON; undefined where there was none. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** What differs between two canonical definitions, in the order of the paths. */
export const diffDefinitions = (before: string, after: string): readonly DefinitionChange[] => {
  const changes: DefinitionChange[] = [];
  compare('', { before: parseLossless(before), after: parseLossless(after) }, changes);
  return changes;
};

/** The members of a tool that differ, such as `description`. */
export const changedMembers = (before: string, after: string): readonly string[] => {
  const [old, now] = [parseLossless(before), parseLossless(after)];
  if (!isObject(old) || !isObject(now)) return before === after ? [] : ['name'];
  return [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((member) => !isSame(own(old, member), own(now, member))).toSorted();
};

const isKeepable = (name: string): boolean => name.length <= maxNameLength && name.isWellFormed() && !control.test(name);

const definitionOf = (name: string, canonical: string, paramHeaders: readonly ParamHeader[] | undefined): ToolDefinition => ({
  name, canonical, paramHeaders, digest: `sha256:${hash('sha256', canonical, 'hex')}`,
});

const maxDepth = 256;

/** As RFC 8785 orders members; numbers keep their own spelling, so that none is taken for its neighbour. */
const canonicalText = (value: unknown, depth = 0): string => {
  if (depth > maxDepth) throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a tool that is nested too deeply');
  if (Array.isArray(value)) return `[${value.map((item) => canonicalText(item, depth + 1)).join(',')}]`;
  if (!isObject(value) || numberOf(value) !== undefined) return stringifyLossless(value);
  const members = Object.keys(value).toSorted().map((name) => `${JSON.stringify(name)}:${canonicalText(value[name], depth + 1)}`);
  return `{${members.join(',')}}`;
};

const isTree = (value: unknown): value is Readonly<Record<string, unknown>> => isObject(value) && numberOf(value) === undefined;

const compare = (path: string, { before, after }: { before: unknown; after: unknown }, changes: DefinitionChange[]): void => {
  if (isSame(before, after)) return;
  if (isTree(before) && isTree(after)) {
    for (const name of [...new Set([...Object.keys(before), ...Object.keys(after)])].toSorted()) compare(join(path, name), { before: own(before, name), after: own(after, name) }, changes);
    return;
  }
  if (Array.isArray(before) && Array.isArray(after) && before.length === after.length) {
    for (const [index, item] of before.entries()) compare(`${path}[${index}]`, { before: item, after: (after as readonly unknown[])[index] }, changes);
    return;
  }
  const plain = [before, after].every((value) => value === undefined || typeof value === 'string');
  changes.push({ path, before: textOf(before, plain), after: textOf(after, plain) });
};

const own = (tree: Readonly<Record<string, unknown>>, name: string): unknown => (Object.hasOwn(tree, name) ? tree[name] : undefined);

const plainName = /^[A-Za-z_$][\w$-]*$/;

const join = (path: string, name: string): string => (plainName.test(name) ? `${path}${path === '' ? '' : '.'}${name}` : `${path}[${JSON.stringify(name)}]`);

const isSame = (before: unknown, after: unknown): boolean => before === after || (before !== undefined && after !== undefined && canonicalText(before) === canonicalText(after));

const textOf = (value: unknown, plain: boolean): string | undefined => (value === undefined ? undefined : plain ? String(value) : stringifyLossless(value));
