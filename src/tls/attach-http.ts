/** Hands verified sockets, and only those, to an HTTP server that listens nowhere itself. */
import type { Server } from 'node:http';
import type { TlsListener } from './listener.ts';

export const attachHttp = (listener: TlsListener, httpServer: Server): void => {
  // Node starts the sweep that enforces headersTimeout and requestTimeout when an HTTP server
  // begins to listen. This one never does, so without the event a slow sender would stay for ever.
  if (!httpServer.listening) httpServer.emit('listening');
  listener.onPeer((socket) => { httpServer.emit('connection', socket); });
};
