/** Releases of Node.js whose faults matter at a gate; the release before and the next line have none of them. */

/** 24.21 leaks with every handshake of a client certificate, and withholds what a peer sends beside its certificate once OpenSSL has found a path. */
export const isFaultyRuntime = (version: string): boolean => version.startsWith('v24.21.');

/** Where anchors under `trust:` need what their peers send: nobody is let in for want of it. */
export const faultsOfRuntime = 'leaks memory with each client certificate, and refuses peers of other authorities that depend on the issuing CA they send: use Node 24.20 or 26';
