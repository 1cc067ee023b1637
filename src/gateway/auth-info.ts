import type { Principal } from '../identity/principal.ts';

/**
 * What tools of an in-process MCP server receive: `extra.authInfo` in SDK v1, `ctx.http.authInfo` in v2.
 * Structurally the SDKs' `AuthInfo`; there is no token, since the certificate is the credential.
 */
export interface CertificateAuthInfo {
  readonly token: string;
  /** The principal's id. */
  readonly clientId: string;
  /** The principal's roles. */
  readonly scopes: string[];
  /** Unix seconds of the certificate's notAfter. */
  readonly expiresAt: number;
  readonly extra: { readonly principal: Principal; readonly roles: readonly string[] };
}

export const authInfoOf = (principal: Principal, roles: readonly string[]): CertificateAuthInfo => ({
  token: '',
  clientId: principal.id,
  scopes: [...roles],
  expiresAt: Math.floor(principal.notAfter.getTime() / 1000),
  extra: { principal, roles },
});
