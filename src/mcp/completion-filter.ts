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
  const kept = values.filter((value) => {
    const uri = typeof value === 'string' && value.isWellFormed() ? expand(template, { ...settled, [name]: value }, name) : undefined;
    return uri !== undefined && allows(resourceOrTemplate(upstream, uri));
  });
  const { total, ...rest } = completion;
  // A total counts values that are not on this page, of which nobody can say whether they are allowed.
  const totalIsTrue = kept.length === values.length && numberOf(total) === values.length;
  return { ...result, completion: { ...rest, values: kept, ...(totalIsTrue ? { total } : {}) } };
};

interface Operator {
  readonly first: string;
  readonly separator: string;
  readonly named: boolean;
  readonly reserved: boolean;
  /** In whose place what is unknown stands once something known has begun the list. */
  readonly next: string;
}

/** RFC 6570 appendix A. */
const operators: Readonly<Record<string, Operator>> = {
  '': { first: '', separator: ',', named: false, reserved: false, next: '' },
  '+': { first: '', separator: ',', named: false, reserved: true, next: '+' },
  '#': { first: '#', separator: ',', named: false, reserved: true, next: '+' },
  '.': { first: '.', separator: '.', named: false, reserved: false, next: '.' },
  '/': { first: '/', separator: '/', named: false, reserved: false, next: '/' },
  ';': { first: ';', separator: ';', named: true, reserved: false, next: ';' },
  '?': { first: '?', separator: '&', named: true, reserved: false, next: '&' },
  '&': { first: '&', separator: '&', named: true, reserved: false, next: '&' },
};

/**
 * RFC 6570 with texts as values. Unknown variables stay, and make the whole a narrower template. Undefined when
 * the variable that is completed stands nowhere in it: then nobody can say what its values lead to.
 */
const expand = (template: string, variables: Fields, completed: string): string | undefined => {
  let isThere = false;
  const expanded = template.replace(/\{([+#./;?&]?)([^{}]*)\}/g, (expression, operator: string, list: string) => {
    const specs = list.split(',').map(readVariable);
    isThere ||= specs.some(({ name }) => name === completed);
    return expandOne(specs, operator, variables) ?? expression;
  });
  return isThere ? expanded : undefined;
};

interface Variable {
  readonly spec: string;
  readonly name: string;
  /** Characters of the value that are taken. */
  readonly prefix: number | undefined;
}

const readVariable = (spec: string): Variable => {
  const { name = spec, prefix } = /^(?<name>[^*:]+)(?:\*|:(?<prefix>[0-9]{1,4}))?$/.exec(spec)?.groups ?? {};
  return { spec, name, prefix: prefix === undefined ? undefined : Number(prefix) };
};

/** Undefined when none of the variables is known. */
const expandOne = (specs: readonly Variable[], sign: string, variables: Fields): string | undefined => {
  const operator = operators[sign];
  let text = '';
  let begun: 'not' | 'perhaps' | 'yes' = 'not';
  for (const { spec, name, prefix } of specs) {
    const value = Object.hasOwn(variables, name) ? variables[name] : undefined;
    if (operator === undefined || typeof value !== 'string') {
      text += `{${begun === 'yes' ? operator?.next : sign}${spec}}`;
      if (begun === 'not') begun = 'perhaps';
      continue;
    }
    const encoded = encode(prefix === undefined ? value : [...value].slice(0, prefix).join(''), operator.reserved);
    // What is unknown and stands before stands for the separator, too.
    text += `${{ not: operator.first, perhaps: '', yes: operator.separator }[begun]}${operator.named ? `${name}${encoded === '' && sign === ';' ? '' : '='}` : ''}${encoded}`;
    begun = 'yes';
  }
  return begun === 'yes' ? text : undefined;
};

const encode = (value: string, reserved: boolean): string =>
  reserved ? encodeURI(value) : encodeURIComponent(value).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
