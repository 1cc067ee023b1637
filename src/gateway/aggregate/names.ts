/**
 * How what several upstreams offer is called when they are offered as one: `warehouse__query` for tools, prompts
 * and tasks, `warehouse+file:///reports/weekly` for resources. Upstream names have neither `_` nor `+`, so the
 * first separator is the one.
 */

export interface Named {
  readonly member: string;
  readonly name: string;
}

export const nameAt = (member: string, name: string): string => `${member}__${name}`;

/** RFC 3986 §3.1 allows `+` in a scheme, so what comes out is a URI as well. */
export const uriAt = (member: string, uri: string): string => `${member}+${uri}`;

/** Undefined when the name has no upstream in it. */
export const splitName = (text: string): Named | undefined => split(/^(?<member>[a-z0-9-]+)__(?<name>[^]*)$/, text);

/** Undefined when the URI, or URI template, has no upstream in it. */
export const splitUri = (text: string): Named | undefined => split(/^(?<member>[a-z0-9-]+)\+(?<name>[^]*)$/, text);

const split = (pattern: RegExp, text: string): Named | undefined => {
  const { member, name } = pattern.exec(text)?.groups ?? {};
  return member === undefined || name === undefined ? undefined : { member, name };
};
