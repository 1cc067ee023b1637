/** The Node.js this runs on. */
import { isFaultyRuntime } from '../tls/known-runtimes.ts';
import { pass, warn } from './check.ts';
import type { Finding } from './check.ts';

export const examineRuntime = (version: string): Finding =>
  isFaultyRuntime(version)
    ? warn(`${version} leaks about 5 KB of memory with every handshake of a client certificate, and does not say what peers of other authorities send beside theirs`, 'run the gateway on Node 24.20 or 26')
    : pass(version);
