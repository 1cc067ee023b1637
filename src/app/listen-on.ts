import type { Server } from 'node:net';
import type { ListenAddress } from '../config/listen-address.ts';
import { SallyportError } from '../errors.ts';

/** @throws SallyportError `ERR_LISTEN_ADDRESS` */
export const listenOn = (server: Server, { host, port }: ListenAddress): Promise<ListenAddress> =>
  new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new SallyportError('ERR_LISTEN_ADDRESS', `cannot listen on ${host}:${port}: choose another address or end what listens there`, { facts: { host, port, reason: cause.code }, cause }));
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve({ host, port: typeof address === 'object' && address !== null ? address.port : port });
    });
  });

/** Ends a server and its connections. */
export const closeServer = (server: Server & { closeAllConnections?(): void }): Promise<void> =>
  new Promise((resolve) => {
    if (!server.listening) {
      resolve();
      return;
    }
    server.close(() => resolve());
    server.closeAllConnections?.();
  });
