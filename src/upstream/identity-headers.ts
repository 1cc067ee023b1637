/** What an HTTP upstream learns about the caller in plain headers. It must trust the connection they come by. */
import { ownTrust } from '../identity/principal.ts';
import type { Principal } from '../identity/principal.ts';
import { encodeHeaderValue } from '../mcp/header-value.ts';

export type IdentityHeaders = (principal: Principal, roles: readonly string[]) => Readonly<Record<string, string>>;

/** Texts that are not visible ASCII are written as `=?base64?…?=`, as in MCP's own headers; lists are separated by commas. */
export const identityHeaders: IdentityHeaders = (principal, roles) => ({
  'x-sallyport-principal': encodeHeaderValue(principal.id),
  // What another authority wrote must not pass for a name of ours.
  ...(principal.trust === ownTrust ? ownNames(principal) : { 'x-sallyport-trust': principal.trust }),
  ...listHeader('x-sallyport-roles', roles),
  'x-sallyport-serial': principal.serial,
  'x-sallyport-thumbprint': principal.thumbprint,
});

const ownNames = ({ commonName, organizationalUnits }: Principal): Record<string, string> => ({
  ...(commonName === undefined ? {} : { 'x-sallyport-common-name': encodeHeaderValue(commonName) }),
  ...listHeader('x-sallyport-organizational-units', organizationalUnits),
});

const listHeader = (name: string, values: readonly string[]): Record<string, string> => (values.length === 0 ? {} : { [name]: values.map(listItem).join(', ') });

/** A comma inside a value would make it two. */
const listItem = (value: string): string => (value.includes(',') ? `=?base64?${Buffer.from(value, 'utf8').toString('base64')}?=` : encodeHeaderValue(value));
