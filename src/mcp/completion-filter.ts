/** Completions of a resource template name resources, so they are held to the same policy as lists. */
import { SallyportError } from '../errors.ts';
import type { Action } from '../policy/decision.ts';
import { numberOf } from './lossless-json.ts';
import { resourceOrTemplate } from './method-table.ts';
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

/**
 * Drops values that would lead to resources the principal may not read. Values for a prompt stay:
 * policy knows prompts by name only, and the name was decided with the request.
 * @throws SallyportError `ERR_UPSTREAM_INVALID`
 */
export const completionFilter = (upstream: string, params: Fields, result: Fields, allows: (action: Action) => boolean): Fields => {
  const { completion } = result;
  if (!isObject(completion) || !Array.isArray(completion.values)) {
    throw new SallyportError('ERR_UPSTREAM_INVALID', 'the MCP server sent a completion without values');
  }
  const { ref, argument, context } = params;
  if (!isObject(ref) || ref.type !== 'ref/resource' || typeof ref.uri !== 'string' || !isObject(argument) || typeof argument.name !== 'string') return result;
  const template = ref.uri;
  const { name } = argument;
  const settled = isObject(context) && isObject(context.arguments) ? context.arguments : {};
  const values = completion.values as readonly unknown[];
  const kept = values.filter((value) => typeof value === 'string' && value.isWellFormed() && allows(resourceOrTemplate(upstream, expand(template, { ...settled, [name]: value }))));
  const { total, ...rest } = completion;
  // A total counts values that are not on this page, of which nobody can say whether they are allowed.
  const totalIsTrue = kept.length === values.length && numberOf(total) === values.length;
  return { ...result, completion: { ...rest, values: kept, ...(totalIsTrue ? { total } : {}) } };
};

/** RFC 6570 level 2: `{name}` and `{+name}`. Expressions with unknown variables stay, and make the whole a narrower template. */
const expand = (template: string, variables: Fields): string =>
  template.replace(/\{(\+?)([A-Za-z0-9_.]+)\}/g, (expression, reserved: string, name: string) => {
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
    if (typeof value !== 'string') return expression;
    return reserved === '+' ? encodeURI(value) : encodeURIComponent(value).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
  });
