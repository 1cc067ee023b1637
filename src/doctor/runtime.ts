/** The Node.js this runs on. */
import { pass, warn } from './check.ts';
import type { Finding } from './check.ts';

export const examineRuntime = (version: string): Finding =>
  // 24.11 to 24.20, 22 and 26 do not.
  version.startsWith('v24.21.')
    ? warn(`${version} leaks about 5 KB of memory with every handshake of a client certificate`, 'run the gateway on Node 24.20 or 26')
    : pass(version);
