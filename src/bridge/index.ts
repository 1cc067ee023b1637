/** `sallyport/bridge`: present an identity to a gateway from an agent written in TypeScript. */
export { createIdentityFetch } from './identity-fetch.ts';
export type { IdentityFetch, IdentityFetchOptions } from './identity-fetch.ts';
export { loadIdentity } from './identity.ts';
export type { Identity, LoadIdentityOptions } from './identity.ts';
export { watchIdentity } from './identity-watch.ts';
export type { IdentityWatch, WatchIdentityOptions } from './identity-watch.ts';
export { createBridgeTransport } from './transport.ts';
export type { BridgeTransportOptions } from './transport.ts';
export { SallyportError } from '../errors.ts';
export { enroll } from './enroll.ts';
export type { AgentKeyAlgorithm, EnrolledIdentity, EnrollOptions } from './enroll.ts';
