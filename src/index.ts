/** `sallyport`: the gateway as a library. */
export { createGateway } from './app/create-gateway.ts';
export type { CreateGatewayOptions, RunningGateway } from './app/create-gateway.ts';
export { protect, protectFetch } from './app/protect.ts';
export type { ProtectedListener, ProtectOptions } from './app/protect.ts';
export type { TlsServerOptions } from './app/create-gateway.ts';
export type { UpstreamSource } from './app/upstreams.ts';
export { openDeployment } from './app/deployment.ts';
export type { Deployment, OpenDeploymentOptions } from './app/deployment.ts';
export type { CertificateAuthInfo } from './gateway/auth-info.ts';
export type { FetchMcpHandler } from './gateway/fetch-handler.ts';
export type { NodeMcpHandler } from './gateway/handler-leg.ts';
export type { Principal } from './identity/principal.ts';
export { errorTable, SallyportError } from './errors.ts';
export type { ErrorCode, ErrorPresentation } from './errors.ts';
export { openStore } from './store/open-store.ts';
export type { StoreOptions } from './store/open-store.ts';
export type { Store } from './store/store.ts';
