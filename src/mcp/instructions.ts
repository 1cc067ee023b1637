/** `instructions` of a server are for the model to read: they may name what a principal is not to know of. */
import type { Action } from '../policy/decision.ts';
import { isObject } from './read-messages.ts';

type Fields = Readonly<Record<string, unknown>>;

export type NameClass = 'tools' | 'prompts' | 'resources';

/** Names of one upstream and class, and their characters in all. */
const maxNames = 4_096;
const maxCharacters = 1_048_576;

/** What is known of a class: all of its names, or not all, or more than are kept. */
interface Seen {
  readonly actions: Map<string, Action>;
  characters: number;
  extent: 'part' | 'whole' | 'tooMany';
}

/** Names of tools, prompts and resources that upstreams have listed to anybody, so that the hidden ones are known. */
export class SeenNames {
  readonly #byUpstream = new Map<string, Record<NameClass, Seen>>();

  /** Notes an unfiltered list result. */
  note(upstream: string, method: string, result: Fields): void {
    const source = sources.get(method);
    if (source === undefined) return;
    const elements: unknown = result[source.list];
    if (!Array.isArray(elements)) return;
    const seen = this.#of(upstream)[source.class];
    for (const element of elements as readonly unknown[]) {
      const name = isObject(element) ? element[source.member] : undefined;
      if (typeof name !== 'string' || seen.actions.has(name)) continue;
      if (seen.actions.size < maxNames && seen.characters + name.length <= maxCharacters) {
        seen.actions.set(name, source.action(upstream, name));
        seen.characters += name.length;
      } else seen.extent = 'tooMany';
    }
    // Templates name no more than patterns; the list of resources is what tells that all were seen.
    if (seen.extent === 'part' && source.list !== 'resourceTemplates' && typeof result.nextCursor !== 'string') seen.extent = 'whole';
  }

  /** Names that a principal may not use; undefined while not all names of the class can be known. */
  hidden(upstream: string, nameClass: NameClass, allows: (action: Action) => boolean): readonly string[] | undefined {
    const seen = this.#byUpstream.get(upstream)?.[nameClass];
    if (seen?.extent !== 'whole') return undefined;
    return [...seen.actions].filter(([, action]) => !allows(action)).map(([name]) => name);
  }

  #of(upstream: string): Record<NameClass, Seen> {
    let seen = this.#byUpstream.get(upstream);
    if (seen === undefined) {
      seen = { tools: nothingSeen(), prompts: nothingSeen(), resources: nothingSeen() };
      this.#byUpstream.set(upstream, seen);
    }
    return seen;
  }
}

export interface InstructionsContext {
  readonly upstream: string;
  readonly names: SeenNames;
  readonly allows: (action: Action) => boolean;
  /** Whether policy lets the principal have all there can be of a class. */
  readonly hasAll: (nameClass: NameClass) => boolean;
}

/**
 * Keeps the instructions of an unfiltered `initialize` or `server/discover` result only for those from whom
 * they give nothing away: of each class the server offers, the principal may have everything, or all of the
 * names are known and those it may not use do not occur.
 */
export const withoutTellingInstructions = (result: Fields, { upstream, names, allows, hasAll }: InstructionsContext): Fields => {
  const { instructions, ...rest } = result;
  if (instructions === undefined) return result;
  const offered = isObject(result.capabilities) ? result.capabilities : {};
  for (const nameClass of ['tools', 'prompts', 'resources'] as const) {
    if (!Object.hasOwn(offered, nameClass) || hasAll(nameClass)) continue;
    const hidden = names.hidden(upstream, nameClass, allows);
    if (hidden === undefined || typeof instructions !== 'string' || instructionsFilter(instructions, hidden) === undefined) return rest;
  }
  return result;
};

/** The text, or undefined when one of the names stands in it, in whatever case. */
export const instructionsFilter = (text: string, hiddenNames: Iterable<string>): string | undefined => {
  const folded = text.toLowerCase();
  for (const name of hiddenNames) if (occurs(folded, name.toLowerCase())) return undefined;
  return text;
};

/** `read` does not stand in `already`, nor in `read_file`. */
const occurs = (text: string, name: string): boolean => {
  if (name === '') return false;
  for (let at = text.indexOf(name); at !== -1; at = text.indexOf(name, at + 1)) {
    const before = text[at - 1];
    const behind = text[at + name.length];
    if (!(isWord(name[0]) && isWord(before)) && !(isWord(name.at(-1)) && isWord(behind))) return true;
  }
  return false;
};

const isWord = (character: string | undefined): boolean => character !== undefined && /[\p{L}\p{N}_]/u.test(character);

const sources: ReadonlyMap<string, { readonly class: NameClass; readonly list: string; readonly member: string; readonly action: (upstream: string, name: string) => Action }> = new Map([
  ['tools/list', { class: 'tools', list: 'tools', member: 'name', action: (upstream: string, name: string): Action => ({ kind: 'tool', upstream, name }) }],
  ['prompts/list', { class: 'prompts', list: 'prompts', member: 'name', action: (upstream: string, name: string): Action => ({ kind: 'prompt', upstream, name }) }],
  ['resources/list', { class: 'resources', list: 'resources', member: 'uri', action: (upstream: string, uri: string): Action => ({ kind: 'resource', upstream, uri }) }],
  ['resources/templates/list', { class: 'resources', list: 'resourceTemplates', member: 'uriTemplate', action: (upstream: string, uriTemplate: string): Action => ({ kind: 'resourceTemplate', upstream, uriTemplate }) }],
]);

const nothingSeen = (): Seen => ({ actions: new Map(), characters: 0, extent: 'part' });
