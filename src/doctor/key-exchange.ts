/** Whether what is recorded today could be read once there are quantum computers. */
import { pass, skip, warn } from './check.ts';
import type { Finding } from './check.ts';

/** @param group as agreed with a peer that offers all this Node.js has */
export const examineKeyExchange = (group: string | undefined): Finding => {
  if (group === undefined) return skip('this Node.js does not say which key exchange was agreed');
  return /mlkem/iu.test(group)
    ? pass(`${group} with a peer that offers it`)
    : warn(`${group}: what is recorded today could be read by a later quantum computer`, 'run gateway and agents on a Node.js with OpenSSL 3.5, such as 26');
};
