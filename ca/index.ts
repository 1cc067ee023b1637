/** `sallyport/ca`: the certificate authority on its own. */
export { CertificateAuthority } from './authority.ts';
export type { AuthorityOptions, CreateAuthorityOptions, LoadAuthorityOptions } from './authority-options.ts';
export type {
  ApprovedRequest,
  Asking,
  CertificateKey,
  CreatedToken,
  EnrollRequest,
  IssuedCertificate,
  IssueRequest,
  IssuerName,
  IssueServerRequest,
  ReleaseResult,
  ReleaseSelector,
  RenewRequest,
  RevocationPreview,
  RevokeOptions,
  RevokeResult,
  RevokeSelector,
  TokenRequest,
} from './requests.ts';

export { createHierarchy, loadHierarchy } from './hierarchy.ts';
export type { CreateHierarchyOptions, LoadHierarchyOptions } from './hierarchy.ts';
export { hierarchyOf } from './issuer.ts';
export type { CrossCertificate, Hierarchy, Issuer, IssuerRole, IssuerStatus } from './issuer.ts';
export { builtinProfiles, createProfile, createProfiles, issuanceWays, keyAlgorithms } from './profile.ts';
export type { ActivateOptions, PrepareRequest, RetireOptions } from './rotation.ts';
export type { Profile, ProfileConfig, ProfileKind } from './profile.ts';
export { caKeyOfSigner } from './ca-key.ts';
export type { CaKey } from './ca-key.ts';
export { parseCertificate } from './x509/certificate.ts';
export { exportPrivateKey, generatePrivateKey, parsePrivateKey, readPrivateKey, signerOf, writePrivateKey } from './key-store.ts';
export type { WriteKeyOptions } from './key-store.ts';
export { formatDuration, parseDuration } from './duration.ts';
export { parseToken } from './enrollment.ts';
export type { ParsedToken } from './enrollment.ts';
export { revocationReasons } from './revocation.ts';

export { createCaCertificateHandler, createCrlHandler, createTrustBundleHandler } from './http/publication.ts';
export { createOcspHandler } from './http/ocsp.ts';
export { createEnrollHandler } from './http/enroll.ts';
export { createEstHandler, estOperations } from './http/est.ts';
export { createRenewHandler } from './http/renew.ts';

export { CaError } from './errors.ts';
export type { CaErrorCode, ErrorFacts } from './errors.ts';
export type * from './ports.ts';
export type { EnrollHandlerOptions } from './http/enroll.ts';
export type { EstCall, EstHandlerOptions, EstOperation } from './http/est.ts';
export type { PresentError } from './http/json-exchange.ts';
export type { CrlHandlerOptions } from './http/publication.ts';
export type { OcspHandlerOptions } from './http/ocsp.ts';
export type { OcspAnswer, OcspShared } from './ocsp.ts';
export type { OcspResponders } from './ocsp-responders.ts';
export type { RenewHandlerOptions } from './http/renew.ts';
