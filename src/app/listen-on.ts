import type { Server } from 'node:net';
import { formatListenAddress } from '../config/listen-address.ts';
import type { ListenAddress } from '../config/listen-address.ts';
import { SallyportError } from '../errors.ts';

/** @throws SallyportError `ERR_LISTEN_ADDRESS` */
export const listenOn = (server: Server, { host, port }: ListenAddress): Promise<ListenAddress> =>
  new Promise((resolve, reject) => {
    const failed = (cause: NodeJS.ErrnoException): void => {
      reject(new SallyportError('ERR_LISTEN_ADDRESS', `cannot listen on ${formatListenAddress({ host, port })} (${cause.code ?? cause.message}): choose another address or end what listens there`, { facts: { host, port, reason: cause.code }, cause }));
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.off('error', failed);
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
